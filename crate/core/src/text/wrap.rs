//! Lines to paragraphs: hard-wrapped prose flows again, verse stays.

use std::ops::RangeInclusive;

/// Widths in characters at which people and programs break lines of prose.
const WIDTHS: RangeInclusive<usize> = 50..=100;

/// This share of a paragraph's line breaks must stand where the next word would not have fitted.
const WRAPPED: f32 = 0.8;

/// The paragraphs of `lines`, which are divided by empty ones; line breaks inside a paragraph that are no hard wraps stay.
pub(super) fn paragraphs(lines: &[&str]) -> Vec<String> {
    let blocks: Vec<&[&str]> = lines.split(|line| line.is_empty()).filter(|block| !block.is_empty()).collect();
    let width = width(&blocks);
    let paragraph = |block: &&[&str]| match width.map(|width| margin(block, width)) {
        Some(margin) if wrapped(block, margin) => unwrap(block, margin),
        _ => dedent(block),
    };
    blocks.iter().map(paragraph).collect()
}

/// The width a document is wrapped at, if it is: nine tenths of its broken lines are at most so long.
fn width(blocks: &[&[&str]]) -> Option<usize> {
    let broken = |least: usize| -> Vec<usize> {
        let blocks = blocks.iter().filter(|block| block.len() >= least);
        blocks.flat_map(|block| &block[..block.len() - 1]).map(|line| length(line)).collect()
    };
    // Couplets and addresses say little; they count where there is nothing longer.
    let mut lengths = broken(3);
    if lengths.is_empty() {
        lengths = broken(2);
    }
    lengths.sort_unstable();
    let width = *lengths.get(lengths.len() * 9 / 10)?;
    WIDTHS.contains(&width).then_some(width)
}

/// Where `block` is wrapped if it is: its ragged edge may stay a little below the document's width.
fn margin(block: &[&str], width: usize) -> usize {
    let longest = block.iter().map(|line| length(line)).max().unwrap_or(0);
    longest.clamp(width * 17 / 20, width)
}

/// Whether the line breaks of `block` are those of prose wrapped at `width`.
fn wrapped(block: &[&str], width: usize) -> bool {
    let breaks = || block.windows(2).filter(|pair| !own_line(pair[0], pair[1]));
    let total = breaks().count();
    let full = breaks().filter(|pair| is_full(pair[0], pair[1], width)).count();
    let capital = |line: &&str| line.trim_start().chars().find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase);
    let verse = block.len() > 3 && block.iter().all(capital);
    let overlong = block.iter().any(|line| length(line) > width + width / 5);
    total > 0 && full as f32 >= WRAPPED * total as f32 && !verse && !overlong
}

fn length(line: &str) -> usize {
    line.chars().count()
}

/// Whether the first word of `next` would not have fitted on `line`.
fn is_full(line: &str, next: &str, width: usize) -> bool {
    let word = next.split_whitespace().next().unwrap_or("");
    length(line) + 1 + length(word) > width
}

/// Whether `next` begins something of its own: it is indented more than `line`, or a list item.
fn own_line(line: &str, next: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let item = |line: &str| {
        let mark = line.split_whitespace().next().unwrap_or("");
        let number =
            mark.strip_suffix(['.', ')']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        matches!(mark, "-" | "*" | "+" | "•") || number
    };
    indent(next) > indent(line) + 1 || item(next)
}

fn unwrap(block: &[&str], width: usize) -> String {
    let mut text = block[0].trim_start().to_owned();
    for pair in block.windows(2) {
        let next = pair[1].trim_start();
        // A line that ends well before the margin ends there on purpose.
        let short = length(pair[0]) * 4 < width * 3 && !is_full(pair[0], pair[1], width);
        if own_line(pair[0], pair[1]) || short {
            text.push('\n');
        } else if !runs_on(&text) {
            text.push(' ');
        }
        text.push_str(next);
    }
    text
}

/// Whether `text` ends in a hyphen or dash that stands against its word, so that the next word follows without a space.
fn runs_on(text: &str) -> bool {
    let stem = text.trim_end_matches(['-', '—']);
    stem.len() < text.len() && stem.ends_with(|c: char| !c.is_whitespace())
}

/// The lines as they stand, without the indentation they share.
fn dedent(block: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let shared = block.iter().map(indent).min().unwrap_or(0);
    let lines: Vec<&str> = block.iter().map(|line| &line[shared..]).collect();
    lines.join("\n")
}
