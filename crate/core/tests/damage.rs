//! Thousands of damaged files: none panics, hangs, or makes the reader take more memory than the file warrants.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use imprint_core::config::ModelConfig;
use imprint_core::gguf::testing::{GgufWriter, quantise};
use imprint_core::gguf::{Gguf, Source};
use imprint_core::gguf_lora;
use imprint_core::peft::import;
use imprint_core::quant::{BlockType, dequantise, pack, unpack};
use imprint_core::{Error, Result};
use pollster::block_on;

/// What a reader may take besides the file's own size: messages, small maps, rounding up of buffers.
const SPARE_BYTES: usize = 16 << 10;
/// The same for adapters, whose configs may hold patterns: a compiled one has a limit of its own.
const PATTERN_BYTES: usize = 4 << 20;

/// The system's allocator, noting what each thread holds and the largest single piece it asked for.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST_HELD: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(change: isize, size: usize) {
    let held = HELD.get() + change;
    HELD.set(held);
    MOST_HELD.set(MOST_HELD.get().max(held));
    LARGEST.set(LARGEST.get().max(size));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize, layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize, size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The largest single allocation and the most held at once while `work` runs on this thread.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = HELD.get();
    MOST_HELD.set(before);
    LARGEST.set(0);
    let result = work();
    (result, LARGEST.get(), (MOST_HELD.get() - before) as usize)
}

/// A file in memory that counts the bytes read from it.
struct Counted<'a>(&'a [u8], Cell<usize>);

impl Source for Counted<'_> {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.1.set(self.1.get() + len);
        self.0.read_at(offset, len).await
    }
}

/// A file with every kind of value and every block format.
fn small_file(rng: &mut Rng) -> Vec<u8> {
    let mut writer = GgufWriter::new()
        .meta_str("general.architecture", "llama")
        .alignment(32)
        .meta_f32("llama.rope.freq_base", 1e4)
        .meta_bool("tokenizer.ggml.add_bos_token", true)
        .meta_strings("tokenizer.ggml.tokens", &["<s>", "Ġthe", "é", "", "🌍"])
        .meta_i32s("tokenizer.ggml.token_type", &[3, 1, 1, 1, 6])
        .meta_f32s("tokenizer.ggml.scores", &[0.0, -1.0, -2.0])
        .meta_raw("small", 0, &[9])
        .meta_raw("wide", 10, &[1; 8])
        .meta_raw("negative", 11, &[255; 8])
        .meta_raw("double", 12, &1.5f64.to_le_bytes());
    for ty in BlockType::ALL {
        let n_weights = 2 * ty.block_len();
        let bytes = match ty {
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => quantise(ty, &[0.5, -2.0]),
            // Bits of any kind, each 16 of them a harmless f16 wherever a scale stands.
            _ => (0..ty.row_bytes(n_weights)).map(|_| rng.u8(..) & 0x3b).collect(),
        };
        writer = writer.tensor(ty.name(), &[ty.block_len() as u64, 2], ty, bytes);
    }
    writer.finish()
}

/// Numbers that break careless arithmetic.
fn nasty(rng: &mut Rng, len: usize) -> u64 {
    let edges =
        [0, 1, 2, 255, 1 << 16, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 62, 1 << 63, u64::MAX, u64::MAX - 31];
    let len = len as u64;
    if rng.bool() {
        edges[rng.usize(..edges.len())]
    } else {
        [len, len - 1, len / 8, len / 24, 2 * len][rng.usize(..5)]
    }
}

/// Damages the file in one of the ways that bits, tools and malice do; most of it in the header.
fn damage(rng: &mut Rng, file: &mut Vec<u8>, header_bytes: usize) {
    let reach = if rng.u8(..4) > 0 { header_bytes } else { file.len() };
    let at = rng.usize(..reach.min(file.len()));
    let span = (1 + rng.usize(..64)).min(file.len() - at);
    match rng.u8(..8) {
        0 => file[at] ^= 1 << rng.u8(..8),
        1 => file[at] = rng.u8(..),
        2 | 3 => {
            let width = if rng.bool() { 4 } else { 8 }.min(file.len() - at);
            let number = nasty(rng, file.len()).to_le_bytes();
            file[at..at + width].copy_from_slice(&number[..width]);
        }
        4 => file.truncate(at),
        5 => file.extend((0..span).map(|_| rng.u8(..)).collect::<Vec<_>>()),
        6 => drop(file.drain(at..at + span)),
        _ => {
            let copy = file[at..at + span].to_vec();
            let to = rng.usize(..=file.len());
            file.splice(to..to, copy);
        }
    }
}

/// Opens a file and turns every tensor into weights, both ways.
fn read_all(source: &Counted) -> Result<()> {
    let gguf = block_on(Gguf::read(source))?;
    for tensor in gguf.tensors() {
        let bytes = block_on(gguf.read_tensor(source, tensor))?;
        let mut weights = vec![0.0; tensor.n_weights() as usize];
        dequantise(tensor.ty, &bytes, &mut weights)?;
        let mut unpacked = weights.clone();
        unpack(&pack(tensor.ty, &bytes)?, &mut unpacked)?;
        assert!(weights.iter().zip(&unpacked).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", tensor.name);
    }
    Ok(())
}

#[test]
fn ten_thousand_damaged_files_do_no_harm() {
    let mut rng = Rng::with_seed(10_000);
    let good = small_file(&mut rng);
    read_all(&Counted(&good, Cell::new(0))).unwrap();
    let header_bytes = block_on(Gguf::read(&good)).unwrap().tensors()[0].offset as usize;
    let mut outcomes = BTreeMap::new();
    for round in 0..10_000 {
        let mut file = good.clone();
        for _ in 0..=rng.u8(..3) {
            if !file.is_empty() {
                damage(&mut rng, &mut file, header_bytes);
            }
        }
        let source = Counted(&file, Cell::new(0));
        let (opened, largest, most) = measure(|| block_on(Gguf::read(&source)));
        let read_bytes = source.1.replace(0);
        assert!(largest <= file.len() + SPARE_BYTES, "round {round}: a piece of {largest} bytes for {}", file.len());
        assert!(most <= 4 * file.len() + SPARE_BYTES, "round {round}: {most} bytes held for a file of {}", file.len());
        assert!(read_bytes <= file.len(), "round {round}: {read_bytes} bytes read of {}", file.len());
        let outcome = opened.and_then(|_| read_all(&source)).map_or_else(|error: Error| error.code(), |()| "sound");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    // Nothing but these codes, and enough of each that every part of the reader was reached.
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), ["model-corrupt", "model-unsupported", "sound"]);
    assert!(outcomes.values().all(|&count| count >= 100), "{outcomes:?}");
}

#[test]
fn a_hostile_count_allocates_nothing_large() {
    // Counts that the file's length allows, as far as the file goes, and far more memory than it has.
    let zeros = vec![0; 4 << 20];
    for kind in [0u32, 8, 5, 10] {
        let mut list = kind.to_le_bytes().to_vec();
        list.extend((zeros.len() as u64 / 8).to_le_bytes());
        list.extend(&zeros);
        let file = GgufWriter::new().meta_raw("list", 9, &list).finish();
        let (_, largest, most) = measure(|| block_on(Gguf::read(&file)).map(|_| ()));
        assert!(largest <= file.len() + (1 << 20), "kind {kind}: {largest}");
        assert!(most <= 4 * file.len(), "kind {kind}: {most}");
    }
}

#[test]
fn four_thousand_damaged_adapters_do_no_harm() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/peft");
    let read = |path: &str| fs::read(fixture.join(path)).unwrap();
    let config = ModelConfig::from_gguf(&block_on(Gguf::read(&read("base.gguf"))).unwrap()).unwrap();
    let mut rng = Rng::with_seed(4_000);
    let mut outcomes = BTreeMap::new();
    for name in ["plain", "patterns"] {
        let good = [read(&format!("{name}/adapter_config.json")), read(&format!("{name}/adapter_model.safetensors"))];
        import(&good[0], &good[1], &config).unwrap();
        let header_bytes = 8 + u64::from_le_bytes(good[1][..8].try_into().unwrap()) as usize;
        for round in 0..2_000 {
            let mut files = good.clone();
            let file = &mut files[usize::from(rng.u8(..4) > 0)];
            for _ in 0..=rng.u8(..3) {
                if !file.is_empty() {
                    damage(&mut rng, file, header_bytes);
                }
            }
            let size_bytes = files[0].len() + files[1].len();
            let (result, _, most) = measure(|| import(&files[0], &files[1], &config));
            assert!(most <= 8 * size_bytes + PATTERN_BYTES, "{name}, round {round}: {most} bytes for {size_bytes}");
            let outcome = result.map_or_else(|error: Error| error.code(), |_| "sound");
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    }
    let known = ["adapter-corrupt", "adapter-unsupported", "adapter-wrong-base", "sound"];
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), known);
    assert!(outcomes["sound"] >= 100 && outcomes["adapter-corrupt"] >= 1000, "{outcomes:?}");
}

#[test]
fn two_thousand_damaged_adapters_of_llama_cpp_do_no_harm() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/peft");
    let read = |path: &str| fs::read(fixture.join(path)).unwrap();
    let config = ModelConfig::from_gguf(&block_on(Gguf::read(&read("base.gguf"))).unwrap()).unwrap();
    let good = read("plain.gguf");
    let header_bytes = block_on(Gguf::read(&good)).unwrap().tensors()[0].offset as usize;
    let mut rng = Rng::with_seed(2_000);
    let mut outcomes = BTreeMap::new();
    for round in 0..2_000 {
        let mut file = good.clone();
        for _ in 0..=rng.u8(..3) {
            if !file.is_empty() {
                damage(&mut rng, &mut file, header_bytes);
            }
        }
        let source = Counted(&file, Cell::new(0));
        let (result, largest, most) = measure(|| block_on(gguf_lora::import(&source, &config)));
        assert!(largest <= file.len() + SPARE_BYTES, "round {round}: a piece of {largest} bytes for {}", file.len());
        assert!(most <= 8 * file.len() + SPARE_BYTES, "round {round}: {most} bytes held for a file of {}", file.len());
        let outcome = result.map_or_else(|error: Error| error.code(), |_| "sound");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    let known = ["adapter-corrupt", "adapter-unsupported", "adapter-wrong-base", "sound"];
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), known);
    assert!(outcomes["sound"] >= 30 && outcomes["adapter-corrupt"] >= 500, "{outcomes:?}");
}
