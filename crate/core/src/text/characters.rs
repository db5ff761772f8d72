//! Character by character: line ends, and what no one sees.

use super::{Reason, Tally};

/// `text` with `\n` as the only line end and without invisible characters, but for those that shape what is seen.
///
/// Joiners stay between emoji and in scripts that write with them, zero-width spaces in scripts that divide words by them.
pub(super) fn clean(text: &str, tally: &mut Tally) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut removed = 0;
    let mut before = '\n';
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let after = characters.peek().copied().unwrap_or('\n');
        match c {
            '\r' if after == '\n' => continue,
            '\r' | '\u{b}' | '\u{85}' | '\u{2028}' => clean.push('\n'),
            '\u{c}' | '\u{2029}' => clean.push_str("\n\n"),
            _ if invisible(c, before, after) => {
                removed += 1;
                continue;
            }
            _ => clean.push(c),
        }
        before = c;
    }
    tally.add(Reason::Invisible, removed, removed);
    clean
}

fn invisible(c: char, before: char, after: char) -> bool {
    match c {
        '\u{200d}' => !(joins(before) && !after.is_whitespace() || pictorial(before) && pictorial(after)),
        '\u{200c}' => !(joins(before) && joins(after)),
        '\u{200b}' => !(spaceless(before) && spaceless(after)),
        // Tags spell the flags of regions after a black flag.
        '\u{e0000}'..='\u{e007f}' => !matches!(before, '\u{1f3f4}' | '\u{e0020}'..='\u{e007e}'),
        '\u{ad}' | '\u{180e}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffd}' => true,
        '\n' | '\t' => false,
        _ => c.is_control(),
    }
}

/// Scripts whose letters change shape with the joiners between them: Arabic to Sinhala, Tibetan, Myanmar, Khmer, Mongolian.
fn joins(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{dff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Scripts without spaces between words: Thai, Lao, Tibetan, Myanmar, Khmer.
fn spaceless(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

/// Emoji and what modifies them.
fn pictorial(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{3030}' | '\u{fe0f}' | '\u{20e3}' | '\u{1f000}'..='\u{1faff}')
}
