//! What a server says of the part of a file that it sends.

/// A `Content-Range` header: `bytes 0-65535/98362432`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte sent.
    pub start: u64,
    /// Bytes sent.
    pub len: u64,
    /// The length of the whole file; `None` where the server does not know it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads the header; `None` for what is none, or for one that contradicts itself.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, rest) = header.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        let sound = unit.eq_ignore_ascii_case("bytes") && start <= last && total.is_none_or(|total| last < total);
        sound.then(|| Some(Self { start, len: (last - start).checked_add(1)?, total }))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_send_is_read() {
        let part = ContentRange { start: 64, len: 36, total: Some(200) };
        assert_eq!(ContentRange::parse("bytes 64-99/200"), Some(part));
        assert_eq!(ContentRange::parse("Bytes 64-99/*"), Some(ContentRange { total: None, ..part }));
    }

    #[test]
    fn what_contradicts_itself_is_not_believed() {
        for header in [
            "",
            "bytes",
            "bytes */200",
            "bytes 64-63/200",
            "bytes 0-200/200",
            "lines 0-9/200",
            "bytes 0-9",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(ContentRange::parse(header), None, "{header:?}");
        }
    }
}
