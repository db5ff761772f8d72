//! The law that the fused path computes what the processor computes in f32, checked on the spot.

pub mod learning;

use imprint_core::{
    Error, ErrorKind, Result,
    fused::{FusedModel, Variant},
    generate::Backend,
    gguf::Gguf,
    kernels::{
        gpu::{Gpu, GpuOptions},
        project::{Cut, Tile},
        shared::Size,
    },
    processor::Processor,
    weights::load_packed,
};
use serde::Serialize;

use crate::{device, engine::Open};

/// Long enough that prefill has more than one tile, short enough for one thread.
const PROMPT: &str =
    "The lighthouse keeper climbed the stairs every evening to light the lamp, and on the way he counted";
/// The processor computes all of the prompt at once.
const MOST_TOKENS: usize = 64;

/// How far the paths are apart.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `webgpu` or `cpu`; on the processor there is only one path and nothing to compare.
    device: &'static str,
    tokens: usize,
    /// What was compared: the open model first, then, where asked for, the cuts that other GPUs get.
    cuts: Vec<Compared>,
}

/// How far the fused path in one cut is from the processor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Compared {
    /// Invocations that share a row.
    lanes: u32,
    /// Smallest subgroup of the device, where it was made with subgroups.
    #[serde(skip_serializing_if = "Option::is_none")]
    subgroup: Option<u32>,
    /// Whether lanes are added up by shuffles.
    shuffles: bool,
    prefill: Apart,
    decode: Apart,
}

/// The largest difference of two lists of scores.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Apart {
    max_absolute: f32,
    /// Of the largest score.
    max_relative: f32,
    /// Where it is.
    at: usize,
    /// Whether both paths find the same token likeliest.
    same_best: bool,
}

/// Loads the model into memory beside the GPU and compares the scores after a prompt, once as the prefill kernels compute
/// them and once with the last token through the one-token kernels. With `all_cuts` it then loads the model on devices with
/// and without subgroups, in cuts whose lanes meet by shuffles and by workgroup memory.
///
/// # Errors
/// `invalid-option` for a prompt of no or too many tokens; whatever loading and computing report.
pub async fn run(open: &Open, prompt: Option<&str>, all_cuts: bool) -> Result<Report> {
    let ids = open.model.tokenizer.encode(prompt.unwrap_or(PROMPT))?;
    if !(2..=MOST_TOKENS).contains(&ids.len()) {
        let what = format!("the prompt has {} tokens, the self-test takes 2 to {MOST_TOKENS}", ids.len());
        return Err(Error::new(ErrorKind::InvalidOption, what));
    }
    let mut report = Report { device: "cpu", tokens: ids.len(), cuts: Vec::new() };
    if let Backend::Fused(fused) = &open.model.backend {
        report.device = "webgpu";
        let gguf = Gguf::read(&open.source).await?;
        let packed = load_packed(&gguf, &open.source, &mut |_, _| Ok(())).await?;
        let expected = Processor::new(packed).exact_scores(&ids);
        report.cuts.push(compare(fused, &ids, &expected).await?);
        for without_subgroups in if all_cuts { &[false, true][..] } else { &[] } {
            let gpu = device::request(GpuOptions {
                without_subgroups: *without_subgroups,
                default_limits: true,
                ..GpuOptions::default()
            })
            .await?;
            let variant = lanes_of(&gpu);
            let fused = FusedModel::load(gpu, &gguf, &open.source, MOST_TOKENS, variant, &mut |_, _| Ok(())).await?;
            report.cuts.push(compare(&fused, &ids, &expected).await?);
        }
    }
    Ok(report)
}

/// A cut with as many lanes a row as one subgroup of `gpu` has at the least, up to eight; eight where it has none.
fn lanes_of(gpu: &Gpu) -> Variant {
    let lanes = gpu.subgroup.map_or(8, |size| size.clamp(2, 8));
    Variant {
        cut: Cut { rows: 2, lanes, group: 64, subgroup: gpu.subgroup, walk: false, tile: Tile::Shared(Size::Small) },
    }
}

async fn compare(fused: &FusedModel, ids: &[u32], expected: &[f32]) -> Result<Compared> {
    let cut = fused.variant().cut;
    Ok(Compared {
        lanes: cut.lanes,
        subgroup: cut.subgroup,
        shuffles: cut.shuffles(),
        prefill: Apart::of(&prefill_scores(fused, ids).await?, expected),
        decode: Apart::of(&decode_scores(fused, ids).await?, expected),
    })
}

async fn prefill_scores(fused: &FusedModel, ids: &[u32]) -> Result<Vec<f32>> {
    fused.read(0, ids).await?;
    fused.logits().await
}

async fn decode_scores(fused: &FusedModel, ids: &[u32]) -> Result<Vec<f32>> {
    let last = ids.len() - 1;
    fused.read(0, &ids[..last]).await?;
    fused.step(last, ids[last]).await?;
    fused.logits().await
}

impl Apart {
    fn of(found: &[f32], expected: &[f32]) -> Self {
        let scale = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).enumerate();
        let (at, max_absolute) =
            apart.fold((0, 0.0f32), |worst, (i, e)| if e > worst.1 || e.is_nan() { (i, e) } else { worst });
        Self { max_absolute, max_relative: max_absolute / scale, at, same_best: best(found) == best(expected) }
    }
}

fn best(scores: &[f32]) -> Option<usize> {
    (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
}
