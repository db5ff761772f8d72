//! The law that the fused path computes what the plain path computes, checked on the spot.

use burn::tensor::Device;
use imprint_core::{
    Error, ErrorKind, Result,
    fused::FusedModel,
    generate::Backend,
    gguf::Gguf,
    model::Model,
    weights::{Keep, load_model},
};
use serde::Serialize;

use crate::engine::Open;

/// Long enough that prefill has more than one tile, short enough for the plain path on one thread.
const PROMPT: &str =
    "The lighthouse keeper climbed the stairs every evening to light the lamp, and on the way he counted";
/// The plain path computes all of the prompt at once.
const MOST_TOKENS: usize = 64;

/// How far the paths are apart.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// `webgpu` or `cpu`; on the processor there is only one path and nothing to compare.
    device: &'static str,
    tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill: Option<Apart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decode: Option<Apart>,
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

/// Loads the plain model beside the fused one and compares the scores after a prompt, once as the prefill kernels compute
/// them and once with the last token through the one-token kernels. Gives JSON.
///
/// # Errors
/// `invalid-option` for a prompt of no or too many tokens; whatever loading and computing report.
pub async fn run(open: &Open, prompt: Option<&str>) -> Result<String> {
    let ids = open.model.tokenizer.encode(prompt.unwrap_or(PROMPT))?;
    if !(2..=MOST_TOKENS).contains(&ids.len()) {
        let what = format!("the prompt has {} tokens, the self-test takes 2 to {MOST_TOKENS}", ids.len());
        return Err(Error::new(ErrorKind::InvalidOption, what));
    }
    let report = match &open.model.backend {
        Backend::Plain(_) => Report { device: "cpu", tokens: ids.len(), prefill: None, decode: None },
        Backend::Fused(fused) => {
            let gguf = Gguf::read(&open.source).await?;
            let plain = load_model(&gguf, &open.source, Keep::Packed, &Device::flex(), &mut |_, _| Ok(())).await?;
            let expected = plain_scores(&plain, &ids).await?;
            let prefill = Some(Apart::of(&prefill_scores(fused, &ids).await?, &expected));
            let decode = Some(Apart::of(&decode_scores(fused, &ids).await?, &expected));
            Report { device: "webgpu", tokens: ids.len(), prefill, decode }
        }
    };
    serde_json::to_string(&report).map_err(|e| Error::new(ErrorKind::Internal, "no report").with_source(e))
}

async fn plain_scores(plain: &Model, ids: &[u32]) -> Result<Vec<f32>> {
    let hidden = plain.forward(ids, 1, None, None);
    let scores = plain.logits(hidden.narrow(1, ids.len() - 1, 1)).into_data_async().await;
    let scores = scores.map_err(|e| Error::new(ErrorKind::Internal, "no scores").with_source(e))?;
    scores.try_into_vec().map_err(|e| Error::new(ErrorKind::Internal, format!("scores are not f32: {e:?}")))
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
