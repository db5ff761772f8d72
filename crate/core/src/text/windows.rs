//! Token ids of passages to windows to train on.

/// The usual length of a window in tokens.
pub const DEFAULT_WINDOW: usize = 256;

/// A window with fewer ids has too little before it to teach anything.
const TINY: usize = 16;

/// Packs the ids of one document's passages, in order, into windows of at most `length` ids.
///
/// Windows end on passage borders: passages that follow one another are joined while they fit. A passage longer than a
/// window is cut. No window is shorter than 16 ids (or half of `length`) unless the document is; a document of one id has
/// none. Otherwise every id stands in exactly one window, in order.
///
/// # Panics
/// If `length` is below 4: our bug, options are checked before.
pub fn windows<P: AsRef<[u32]>>(passages: &[P], length: usize) -> Vec<Vec<u32>> {
    assert!(length >= 4, "a window of {length} ids teaches nothing");
    let tiny = TINY.min(length / 2);
    let mut windows: Vec<Vec<u32>> = Vec::new();
    let mut open: Vec<u32> = Vec::with_capacity(length);
    for passage in passages {
        let mut ids = passage.as_ref();
        let fits = open.len() + ids.len() <= length;
        if !fits && ids.len() <= length && open.len() >= tiny {
            windows.push(std::mem::take(&mut open));
        }
        while open.len() + ids.len() > length {
            let (head, rest) = ids.split_at(length - open.len());
            open.extend(head);
            windows.push(std::mem::take(&mut open));
            ids = rest;
        }
        open.extend(ids);
    }
    match windows.last_mut() {
        // The last two share what they have.
        Some(last) if !open.is_empty() && open.len() < tiny => {
            last.append(&mut open);
            if last.len() > length {
                open = last.split_off(last.len() / 2);
                windows.push(open);
            }
        }
        _ if open.len() >= 2 => windows.push(open),
        _ => {}
    }
    windows
}
