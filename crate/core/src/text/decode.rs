//! Bytes of unknown origin to text.

use super::{Encoding, Reason, Tally};

/// What 0x80 to 0x9F mean in Windows-1252; five of them nothing (the rest is Latin-1).
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Starts of files that hold text no one can read without the program that made them.
const FORMATS: [(&[u8], &str); 8] = [
    (b"%PDF", "is a PDF: save its text as .txt"),
    (b"PK\x03\x04", "is a zip archive or an office document: save its text as .txt"),
    (b"\xd0\xcf\x11\xe0", "is an old office document: save its text as .txt"),
    (b"{\\rtf", "is rich text: save it as .txt"),
    (b"\x89PNG", "is a picture, not text"),
    (b"\xff\xd8\xff", "is a picture, not text"),
    (b"GIF8", "is a picture, not text"),
    (b"\x1f\x8b", "is compressed: unpack it first"),
];

/// Reads `bytes` as text, or says what is wrong with them.
pub(super) fn decode(bytes: &[u8], tally: &mut Tally) -> Result<(String, Encoding), String> {
    if let Some((_, problem)) = FORMATS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err((*problem).to_owned());
    }
    let (text, encoding) = if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        (utf16(rest, u16::from_le_bytes)?, Encoding::Utf16)
    } else if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        (utf16(rest, u16::from_be_bytes)?, Encoding::Utf16)
    } else if zeros(bytes, 1) && !zeros(bytes, 0) {
        (utf16(bytes, u16::from_le_bytes)?, Encoding::Utf16)
    } else if zeros(bytes, 0) && !zeros(bytes, 1) {
        (utf16(bytes, u16::from_be_bytes)?, Encoding::Utf16)
    } else {
        bytewise(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), tally)?
    };
    let controls = text.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
    // A stray control character happens; one in a hundred is a binary file.
    if controls > 4 && controls * 100 > text.chars().count() {
        return Err("is not text, or in an unknown encoding: save it as UTF-8".to_owned());
    }
    Ok((text, encoding))
}

/// Whether a third of the bytes at even (0) or odd (1) places are zero, as in UTF-16 without a mark of its order.
fn zeros(bytes: &[u8], from: usize) -> bool {
    let zeros = bytes.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    zeros > 1 && zeros * 6 > bytes.len()
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).collect::<Result<_, _>>().map_err(|_| "is damaged UTF-16: save it as UTF-8".to_owned())
}

fn bytewise(bytes: &[u8], tally: &mut Tally) -> Result<(String, Encoding), String> {
    let Err(first) = std::str::from_utf8(bytes) else {
        return Ok((String::from_utf8_lossy(bytes).into_owned(), Encoding::Utf8));
    };
    let (mut kept, mut damaged) = (String::with_capacity(bytes.len()), 0);
    for chunk in bytes.utf8_chunks() {
        kept.push_str(chunk.valid());
        damaged += usize::from(!chunk.invalid().is_empty());
    }
    let sound = kept.chars().filter(|c| !c.is_ascii()).count();
    // A cut at the very end is no sign of another encoding.
    if sound > 4 * damaged || (damaged == 1 && first.error_len().is_none()) {
        tally.add(Reason::Invisible, damaged, damaged);
        return Ok((kept, Encoding::Utf8));
    }
    let high = bytes.iter().filter(|byte| **byte >= 0x80).count();
    // Western text has few letters beyond ASCII; more means Cyrillic, Greek, Japanese … in an encoding of their own.
    if high * 10 > bytes.len() * 3 {
        return Err("is not UTF-8 but in an encoding of its language: save it as UTF-8".to_owned());
    }
    let character = |byte: &u8| match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(*byte),
    };
    Ok((bytes.iter().map(character).collect(), Encoding::Windows1252))
}
