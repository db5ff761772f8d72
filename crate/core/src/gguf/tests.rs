use std::cell::Cell;

use pollster::block_on;

use super::testing::{GgufWriter, quantise};
use super::*;
use crate::quant::dequantise;

fn read(file: &[u8]) -> Result<Gguf> {
    block_on(Gguf::read(&file))
}

fn ramp(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.7).sin()).collect()
}

/// A file with a value of every kind and two tensors, `a` (F32) and `b` (Q8_0).
fn sample() -> GgufWriter {
    GgufWriter::new()
        .meta_str("text", "Grüße 🌍")
        .meta_u32("count", 7)
        .meta_f32("rate", 0.1)
        .meta_bool("flag", true)
        .meta_strings("tokens", &["x", "", "Ġy"])
        .meta_i32s("types", &[1, -3, i32::MAX])
        .meta_f32s("scores", &[0.5, -1.0])
        .tensor_of("a", &[5, 3], BlockType::F32, &ramp(15))
        .tensor_of("b", &[64, 2, 3], BlockType::Q8_0, &ramp(384))
}

/// Where in `file` the length-prefixed `name` ends.
fn after(file: &[u8], name: &str) -> usize {
    let mut needle = (name.len() as u64).to_le_bytes().to_vec();
    needle.extend(name.as_bytes());
    file.windows(needle.len()).position(|window| window == needle).unwrap() + needle.len()
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn what_was_written_is_read() {
    for version in [2, 3] {
        let file = sample().version(version).finish();
        let gguf = read(&file).unwrap();
        assert_eq!((gguf.version(), gguf.size_bytes()), (version, file.len() as u64));
        assert_eq!(gguf.keys().collect::<Vec<_>>(), ["count", "flag", "rate", "scores", "text", "tokens", "types"]);
        assert_eq!(gguf.str("text"), Some("Grüße 🌍"));
        assert_eq!((gguf.u32("count"), gguf.u64("count")), (Some(7), Some(7)));
        assert_eq!((gguf.f32("rate"), gguf.bool("flag")), (Some(0.1), Some(true)));
        assert_eq!(gguf.strings("tokens").unwrap(), ["x", "", "Ġy"]);
        assert_eq!(gguf.i32s("types").unwrap(), [1, -3, i32::MAX]);
        assert_eq!(gguf.f32s("scores").unwrap(), [0.5, -1.0]);
        let b = gguf.tensor("b").unwrap();
        assert_eq!((b.cols(), b.rows(), b.n_weights(), b.row_bytes(), b.size_bytes), (64, 6, 384, 68, 408));
        assert_eq!(gguf.tensors().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(block_on(gguf.read_tensor(&file, b)).unwrap(), quantise(BlockType::Q8_0, &ramp(384)));
    }
}

#[test]
fn a_getter_of_another_type_finds_nothing() {
    let gguf = read(&sample().finish()).unwrap();
    assert_eq!((gguf.u32("text"), gguf.str("count"), gguf.bool("count"), gguf.f32("count")), (None, None, None, None));
    assert_eq!((gguf.strings("types"), gguf.i32s("tokens"), gguf.f32s("types")), (None, None, None));
    assert_eq!((gguf.str("absent"), gguf.tensor("c")), (None, None));
}

#[test]
fn numbers_of_every_width_are_read() {
    let list = |kind, items: &[&[u8]]| {
        let file = GgufWriter::new().meta_list("n", kind, items.iter().map(|item| item.to_vec())).finish();
        read(&file).unwrap().value("n").unwrap().clone()
    };
    let one = |kind, bytes: &[u8]| {
        read(&GgufWriter::new().meta_raw("n", kind, bytes).finish()).unwrap().value("n").unwrap().clone()
    };
    for (kind, bytes, number) in [
        (0, 200u8.to_le_bytes().as_slice(), 200),
        (1, &(-100i8).to_le_bytes(), -100),
        (2, &60_000u16.to_le_bytes(), 60_000),
        (3, &(-30_000i16).to_le_bytes(), -30_000),
        (4, &1_000_000u32.to_le_bytes(), 1_000_000),
        (5, &(-5i32).to_le_bytes(), -5),
        (10, &9u64.to_le_bytes(), 9),
        (11, &(-9i64).to_le_bytes(), -9),
    ] {
        assert_eq!(one(kind, bytes), Value::Int(number));
        assert_eq!(list(kind, &[bytes, bytes]), Value::Ints(vec![number as i32; 2]));
    }
    assert_eq!(one(10, &[255; 8]), Value::Int(u64::MAX.into()));
    assert_eq!(list(4, &[&[255; 4], &[0; 4]]), Value::Wide(2));
    assert_eq!(one(12, &0.25f64.to_le_bytes()), Value::Float(0.25));
    assert_eq!(list(12, &[&0.25f64.to_le_bytes()]), Value::Floats(vec![0.25]));
    assert_eq!(list(7, &[&[1], &[0]]), Value::Ints(vec![1, 0]));
}

#[test]
fn text_that_is_not_utf8_keeps_its_place() {
    let items = [b"\x02\0\0\0\0\0\0\0a\xff".to_vec(), b"\x01\0\0\0\0\0\0\0b".to_vec()];
    let gguf = read(&GgufWriter::new().meta_list("tokens", 8, items.into_iter()).finish()).unwrap();
    assert_eq!(gguf.strings("tokens").unwrap(), ["a\u{fffd}", "b"]);
}

#[test]
fn alignment_moves_the_data() {
    for alignment in [4, 8, 24, 32, 4096] {
        let file = sample().alignment(alignment).finish();
        let gguf = read(&file).unwrap();
        let a = gguf.tensor("a").unwrap();
        assert_eq!(a.offset % u64::from(alignment), 0);
        let mut weights = vec![0.0; 15];
        dequantise(a.ty, &block_on(gguf.read_tensor(&file, a)).unwrap(), &mut weights).unwrap();
        assert_eq!(weights, ramp(15));
    }
}

#[test]
fn rows_are_pieces_of_the_tensor() {
    let file = sample().finish();
    let gguf = read(&file).unwrap();
    let b = gguf.tensor("b").unwrap();
    let whole = block_on(gguf.read_tensor(&file, b)).unwrap();
    for (start, end) in [(0, 6), (0, 1), (2, 5), (5, 6), (3, 3)] {
        let rows = block_on(gguf.read_rows(&file, b, start..end)).unwrap();
        assert_eq!(rows, whole[68 * start as usize..68 * end as usize]);
    }
    #[allow(clippy::reversed_empty_ranges)]
    for rows in [0..7, 7..7, 4..3, 0..u64::MAX] {
        assert_eq!(block_on(gguf.read_rows(&file, b, rows)).unwrap_err().code(), "internal");
    }
}

#[test]
fn a_scale_that_is_no_number_names_tensor_and_block() {
    let mut file = sample().finish();
    let place = read(&file).unwrap().tensor("b").unwrap().offset as usize + 7 * 34;
    put(&mut file, place, &half::f16::NAN.to_le_bytes());
    let gguf = read(&file).unwrap();
    let b = gguf.tensor("b").unwrap();
    // Block 7 is in row 3, whether the row is read alone or with the others.
    for rows in [0..6, 3..4] {
        let error = block_on(gguf.read_rows(&file, b, rows)).unwrap_err();
        assert_eq!(error.code(), "model-corrupt");
        assert!(error.to_string().starts_with("tensor b: block 7's scale"), "{error}");
    }
    block_on(gguf.read_rows(&file, b, 4..6)).unwrap();
}

#[test]
fn a_file_that_changed_is_not_read_on() {
    let file = sample().finish();
    let gguf = read(&file).unwrap();
    let longer = [file, vec![0]].concat();
    assert_eq!(block_on(gguf.read_tensor(&longer, &gguf.tensors()[0])).unwrap_err().code(), "model-unreachable");
}

/// A source that says it has more than it gives.
struct Short(Vec<u8>);

impl Source for Short {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.0.read_at(offset, len - 1).await
    }
}

#[test]
fn a_source_that_gives_too_little_is_unreachable() {
    assert_eq!(block_on(Gguf::read(&Short(sample().finish()))).unwrap_err().code(), "model-unreachable");
}

/// A source that counts what is read.
struct Counted(Vec<u8>, Cell<u64>);

impl Source for Counted {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.1.set(self.1.get() + len as u64);
        self.0.read_at(offset, len).await
    }
}

#[test]
fn a_long_header_is_read_once_and_the_data_not_at_all() {
    let tokens: Vec<String> = (0..100_000).map(|i| format!("token {i}")).collect();
    let weights = vec![1.0; 4 << 20];
    let file = sample().meta_strings("vocabulary", &tokens).tensor_of("big", &[1 << 20, 4], BlockType::F32, &weights);
    let source = Counted(file.finish(), Cell::new(0));
    let gguf = block_on(Gguf::read(&source)).unwrap();
    assert_eq!(gguf.strings("vocabulary").unwrap(), tokens);
    let header_bytes = gguf.tensors()[0].offset;
    let read_bytes = source.1.get();
    assert!(header_bytes > 1 << 20 && read_bytes >= header_bytes - 32, "{header_bytes} {read_bytes}");
    assert!(read_bytes <= header_bytes + (1 << 20), "{read_bytes} bytes for a header of {header_bytes}");
}

/// Every damaged file of the table gives its code and a sentence that says what and where.
#[test]
fn damaged_files_are_refused_with_what_and_where() {
    let good = sample().finish();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        put(&mut file, at, bytes);
        file
    };
    let (a, b) = (after(&good, "a"), after(&good, "b"));
    // After a's name: axes (4), two axes of 8, type (4), offset (8). b has three axes.
    let (a_type, b_offset) = (a + 20, b + 32);
    let huge = u64::MAX.to_le_bytes();
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (vec![], "model-corrupt", "only 0 bytes"),
        (b"GGU".to_vec(), "model-corrupt", "at byte 0"),
        (with(0, b"PK\x03\x04"), "model-corrupt", "the file begins with \"PK"),
        (with(4, &1u32.to_le_bytes()), "model-unsupported", "version 1"),
        (with(4, &3u32.to_be_bytes()), "model-unsupported", "big endian"),
        (with(4, &4u32.to_le_bytes()), "model-unsupported", "version 4"),
        (with(8, &huge), "model-corrupt", "tensors at byte 24"),
        (with(16, &huge), "model-corrupt", "metadata entries at byte 24"),
        (with(24, &huge), "model-corrupt", "metadata entry 0: 18446744073709551615 bytes"),
        (good[..good.len() - 33].to_vec(), "model-corrupt", "tensor b has 408 bytes"),
        (good[..b].to_vec(), "model-corrupt", "tensor b: 4 bytes"),
        ([good.clone(), vec![0; 32]].concat(), "model-corrupt", "follow the last tensor"),
        (with(after(&good, "text"), &13u32.to_le_bytes()), "model-corrupt", "metadata text: a value of type 13"),
        (with(after(&good, "text") + 4, &huge), "model-corrupt", "metadata text: 18446744073709551615 bytes"),
        (with(after(&good, "flag") + 4, &[2]), "model-corrupt", "metadata flag: a truth value of 2"),
        (with(after(&good, "types") + 4, &14u32.to_le_bytes()), "model-corrupt", "metadata types: a value of type 14"),
        (with(after(&good, "types") + 4, &9u32.to_le_bytes()), "model-unsupported", "lists of lists"),
        (with(after(&good, "types") + 8, &huge), "model-corrupt", "numbers of a list"),
        (with(after(&good, "tokens") + 8, &huge), "model-corrupt", "texts of a list"),
        (with(after(&good, "tokens") + 16, &huge), "model-corrupt", "metadata tokens: text 0"),
        (with(after(&good, "rate") - 1, b"\xff"), "model-corrupt", "is not UTF-8"),
        (with(after(&good, "text") - 4, b"rate"), "model-corrupt", "metadata rate stands twice"),
        (with(a, &0u32.to_le_bytes()), "model-corrupt", "tensor a: 0 axes"),
        (with(a, &5u32.to_le_bytes()), "model-corrupt", "tensor a: 5 axes"),
        (with(a + 4, &0u64.to_le_bytes()), "model-corrupt", "tensor a: the shape [0, 3]"),
        (with(a + 4, &(1u64 << 63).to_le_bytes()), "model-corrupt", "tensor a: the shape"),
        (with(a + 4, &(1u64 << 40).to_le_bytes()), "model-corrupt", "tensor a has"),
        (with(b + 4, &65u64.to_le_bytes()), "model-corrupt", "tensor b: rows of 65 weights"),
        (with(a_type, &16u32.to_le_bytes()), "model-unsupported", "tensor a: block format IQ2_XXS (type 16)"),
        (with(a_type, &999u32.to_le_bytes()), "model-unsupported", "only F32, F16, BF16, Q4_0"),
        (with(b_offset, &65u64.to_le_bytes()), "model-corrupt", "tensor b begins at 65"),
        (with(b_offset, &32u64.to_le_bytes()), "model-corrupt", "tensors a and b overlap"),
        (with(b_offset, &(1u64 << 40).to_le_bytes()), "model-corrupt", "tensor b has 408 bytes"),
        (with(b_offset, &(u64::MAX - 31).to_le_bytes()), "model-corrupt", "tensor b has 408 bytes"),
        (with(b - 1, b"a"), "model-corrupt", "two tensors are called a"),
        (with(b - 1, b"\xff"), "model-corrupt", "tensor 1: the name"),
        (sample().meta_u32("general.alignment", 0).finish(), "model-corrupt", "general.alignment"),
        (sample().meta_u32("general.alignment", 12).finish(), "model-corrupt", "general.alignment"),
        (sample().meta_str("general.alignment", "32").finish(), "model-corrupt", "general.alignment"),
    ];
    read(&good).unwrap();
    for (i, (file, code, what)) in cases.iter().enumerate() {
        let error = read(file).expect_err(&format!("case {i}, {what}"));
        assert_eq!(error.code(), *code, "case {i}: {error}");
        assert!(error.to_string().contains(what), "case {i}, {what}: {error}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let good = sample().finish();
    // The last tensor ends before the padding, which a file may lack.
    let last = read(&good).unwrap().tensor("b").cloned().unwrap();
    let needed = (last.offset + last.size_bytes) as usize;
    for len in 0..needed {
        assert_eq!(read(&good[..len]).unwrap_err().code(), "model-corrupt", "{len} of {needed} bytes");
    }
    for len in needed..=good.len() {
        read(&good[..len]).unwrap();
    }
}

#[test]
fn a_list_larger_in_memory_than_the_file_is_refused() {
    // A million empty texts take 8 MB in the file and 24 MB as a list.
    let file = GgufWriter::new().meta_list("t", 8, (0..1_000_000).map(|_| vec![0; 8])).finish();
    let error = read(&file).unwrap_err();
    assert!(error.code() == "model-corrupt" && error.to_string().contains("more memory"), "{error}");
}

#[test]
fn rounding_to_blocks_stays_near_the_weights() {
    let weights = ramp(256);
    for (ty, most) in [
        (BlockType::F32, 0.0),
        (BlockType::F16, 0.0005),
        (BlockType::BF16, 0.004),
        (BlockType::Q8_0, 0.0045),
        (BlockType::Q4_1, 0.07),
        // The side opposite the largest weight reaches only 7 of its 8 steps.
        (BlockType::Q4_0, 0.13),
    ] {
        let mut found = vec![0.0; weights.len()];
        dequantise(ty, &quantise(ty, &weights), &mut found).unwrap();
        let error = weights.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= most, "{}: {error}", ty.name());
    }
}

#[test]
fn more_tensors_than_any_model_has_are_not_believed() {
    let mut file = GgufWriter::new().finish();
    put(&mut file, 8, &70_000u64.to_le_bytes());
    file.resize(file.len() + 32 * 70_000, 0);
    let error = read(&file).unwrap_err();
    assert!(
        error.code() == "model-corrupt" && error.to_string().contains("70000 tensors are not believable"),
        "{error}"
    );
}

/// A terabyte that begins with some bytes and goes on with zeros; counts what is read.
struct Terabyte(Counted);

impl Source for Terabyte {
    fn size_bytes(&self) -> u64 {
        1 << 40
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let there = self.0.0.len().saturating_sub(offset as usize).min(len);
        let mut bytes = self.0.read_at(offset, there).await?;
        bytes.resize(len, 0);
        Ok(bytes)
    }
}

#[test]
fn a_huge_file_does_not_make_a_huge_header() {
    for (kind, count) in [(0u32, 1u64 << 39), (8, 1 << 36), (8, 1 << 28)] {
        let list = [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
        let source = Terabyte(Counted(GgufWriter::new().meta_raw("list", 9, &list).finish(), Cell::new(0)));
        let error = block_on(Gguf::read(&source)).unwrap_err();
        assert!(error.code() == "model-corrupt" && error.to_string().contains("left for the header"), "{error}");
        assert!(source.0.1.get() <= 1 << 20, "{} bytes read", source.0.1.get());
    }
}
