use super::*;

/// Blocks of a format and the f32 that the `gguf` Python package makes of them (`tests/fixtures/make_blocks.py`).
fn golden(ty: BlockType) -> (&'static [u8], Vec<f32>) {
    macro_rules! files {
        ($name:literal) => {
            (
                include_bytes!(concat!("../../../../tests/fixtures/blocks/", $name, ".bin")).as_slice(),
                include_bytes!(concat!("../../../../tests/fixtures/blocks/", $name, ".f32")).as_slice(),
            )
        };
    }
    let (blocks, weights) = match ty {
        BlockType::F32 => files!("f32"),
        BlockType::F16 => files!("f16"),
        BlockType::BF16 => files!("bf16"),
        BlockType::Q4_0 => files!("q4_0"),
        BlockType::Q4_1 => files!("q4_1"),
        BlockType::Q5_0 => files!("q5_0"),
        BlockType::Q5_1 => files!("q5_1"),
        BlockType::Q8_0 => files!("q8_0"),
        BlockType::Q4K => files!("q4_k"),
        BlockType::Q5K => files!("q5_k"),
        BlockType::Q6K => files!("q6_k"),
    };
    (blocks, weights.as_chunks().0.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

fn assert_same_bits(ty: BlockType, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{}", ty.name());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{} weight {i}: {a} is not {b}", ty.name());
    }
}

#[test]
fn dequantised_blocks_equal_the_golden_ones_to_the_bit() {
    for ty in BlockType::ALL {
        let (blocks, expected) = golden(ty);
        assert!(expected.len() >= 64 && blocks.len() / ty.block_bytes() * ty.block_len() == expected.len());
        // Filled with something else, so that a weight left alone is found.
        let mut found = vec![f32::NAN; expected.len()];
        dequantise(ty, blocks, &mut found).unwrap();
        assert_same_bits(ty, &found, &expected);
    }
}

#[test]
fn golden_scales_are_finite() {
    for ty in BlockType::ALL {
        check_scales(ty, golden(ty).0).unwrap();
    }
}

#[test]
fn packed_planes_mean_the_same_weights() {
    for ty in BlockType::ALL {
        let (blocks, expected) = golden(ty);
        let packed = pack(ty, blocks).unwrap();
        let mut found = vec![f32::NAN; expected.len()];
        unpack(&packed, &mut found).unwrap();
        assert_same_bits(ty, &found, &expected);
        assert!(packed.size_bytes() as f64 <= 1.02 * blocks.len() as f64, "{}: {}", ty.name(), packed.size_bytes());
    }
}

#[test]
fn an_odd_number_of_blocks_is_padded() {
    for ty in BlockType::ALL {
        let (blocks, expected) = golden(ty);
        let packed = pack(ty, &blocks[..3 * ty.block_bytes()]).unwrap();
        let mut found = vec![f32::NAN; 3 * ty.block_len()];
        unpack(&packed, &mut found).unwrap();
        assert_same_bits(ty, &found, &expected[..3 * ty.block_len()]);
    }
}

#[test]
fn pieces_of_even_blocks_lie_end_to_end() {
    for ty in BlockType::ALL {
        let (blocks, _) = golden(ty);
        let (first, second) = blocks.split_at(2 * ty.block_bytes());
        let (mut joined, rest) = (pack(ty, first).unwrap(), pack(ty, second).unwrap());
        joined.words.extend(rest.words);
        joined.high.extend(rest.high);
        joined.scales.extend(rest.scales);
        assert_eq!(joined, pack(ty, blocks).unwrap(), "{}", ty.name());
    }
}

#[test]
fn a_nibble_word_holds_eight_consecutive_weights() {
    // Weight `i` of a Q4_1 block with d = 1 and m = 0 is its own number: weights 0..16 count up, 16..32 count down.
    let mut block = vec![0x00, 0x3c, 0, 0];
    block.extend((0..16u8).map(|i| i | (15 - i) << 4));
    let packed = pack(BlockType::Q4_1, &block).unwrap();
    assert_eq!(packed.words, [0x7362_5140, 0xfbea_d9c8, 0x8c9d_aebf, 0x0415_2637]);
    assert_eq!(packed.scales, [0x0000_3c00]);
    let word = packed.words[0];
    assert_eq!((word & 0x0f0f_0f0f).to_le_bytes(), [0, 1, 2, 3]);
    assert_eq!((word >> 4 & 0x0f0f_0f0f).to_le_bytes(), [4, 5, 6, 7]);
}

#[test]
fn wrong_lengths_are_errors() {
    for ty in BlockType::ALL {
        let (blocks, expected) = golden(ty);
        let short = &blocks[..blocks.len() - 1];
        let mut out = vec![0.0; expected.len()];
        assert_eq!(dequantise(ty, short, &mut out).unwrap_err().code(), "model-corrupt");
        assert_eq!(pack(ty, short).unwrap_err().code(), "model-corrupt");
        assert_eq!(check_scales(ty, short).unwrap_err().code(), "model-corrupt");
        assert_eq!(dequantise(ty, blocks, &mut out[1..]).unwrap_err().code(), "internal");
        let packed = pack(ty, blocks).unwrap();
        out.push(0.0);
        assert_eq!(unpack(&packed, &mut out).unwrap_err().code(), "internal");
        out.truncate(ty.block_len());
        assert_eq!(unpack(&packed, &mut out).unwrap_err().code(), "internal");
    }
}

#[test]
fn no_blocks_are_no_weights() {
    for ty in BlockType::ALL {
        dequantise(ty, &[], &mut []).unwrap();
        unpack(&pack(ty, &[]).unwrap(), &mut []).unwrap();
    }
}

#[test]
fn a_scale_that_is_no_number_names_its_block() {
    let nan = f16::NAN.to_le_bytes();
    let infinity = f16::NEG_INFINITY.to_le_bytes();
    for ty in BlockType::ALL {
        for &at in ty.scale_places() {
            for bad in [nan, infinity] {
                let mut blocks = golden(ty).0.to_vec();
                let place = 3 * ty.block_bytes() + at;
                blocks[place..place + 2].copy_from_slice(&bad);
                let error = check_scales(ty, &blocks).unwrap_err();
                assert_eq!(error.code(), "model-corrupt");
                assert!(error.to_string().contains("block 3's scale"), "{error}");
            }
        }
    }
}

#[test]
fn a_float_that_is_no_number_names_its_weight() {
    let cases: [(BlockType, &[u8]); 3] = [
        (BlockType::F32, &f32::NAN.to_le_bytes()),
        (BlockType::F16, &f16::INFINITY.to_le_bytes()),
        (BlockType::BF16, &bf16::NAN.to_le_bytes()),
    ];
    for (ty, bad) in cases {
        let mut blocks = golden(ty).0.to_vec();
        blocks[5 * bad.len()..6 * bad.len()].copy_from_slice(bad);
        let error = check_scales(ty, &blocks).unwrap_err();
        assert!(error.code() == "model-corrupt" && error.to_string().contains("weight 5"), "{error}");
    }
}

#[test]
fn ggml_numbers_go_both_ways() {
    for ty in BlockType::ALL {
        assert_eq!(BlockType::from_ggml(ty.ggml_id()), Some(ty));
        assert_eq!(ty.row_bytes(2 * ty.block_len()), 2 * ty.block_bytes());
    }
    for unknown in [4, 5, 9, 10, 11, 15, 16, 24, 34, 1000, u32::MAX] {
        assert_eq!(BlockType::from_ggml(unknown), None);
    }
}
