//! The laws of reading text.

use std::time::Instant;

use super::*;

/// Paragraphs no two of which share a run of words: numbered words, some with marks.
fn story(seed: u64, paragraphs: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut word = || (0..random.usize(2..9)).map(|_| random.lowercase()).collect::<String>();
    let mut sentence = |words: usize| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ") + ".";
    let paragraph = |_| (0..4).map(|_| sentence(12)).collect::<Vec<_>>().join(" ");
    (0..paragraphs).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn document(name: &'static str, text: &str) -> Document<'static> {
    Document { name, bytes: text.to_owned().into_bytes().leak(), kind: None }
}

/// All that is left of one document.
fn cleaned(name: &'static str, text: &str) -> String {
    let material = prepare(&[document(name, text)]).unwrap();
    let text = &material.texts[0];
    let join = |passages: &[String]| passages.concat();
    if text.holdout.is_empty() { join(&text.training) } else { join(&text.training) + "\n\n" + &join(&text.holdout) }
}

fn pieces(material: &Material, reason: Reason) -> usize {
    material.dropped().iter().find(|dropped| dropped.reason == reason).map_or(0, |dropped| dropped.pieces)
}

fn code(bytes: &[u8]) -> &'static str {
    prepare(&[Document { name: "a.txt", bytes, kind: None }]).unwrap_err().code()
}

#[test]
fn voice_survives_cleaning() {
    let text = "“Well—now,” she sayd; 'tis  odd...\n\nנשים 👩‍👩‍👧 می‌خواهم 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️ naïve cafe\u{301}";
    assert_eq!(cleaned("", text), text);
}

#[test]
fn what_no_one_sees_goes() {
    let text = "\u{feff}o\u{ad}ne\u{200b} two\u{200d} th\u{200c}ree\r\nfour\rfive  \t\n\n\n\n\u{a0}\nsix\u{7}";
    assert_eq!(cleaned("", text), "one two three\nfour\nfive\n\nsix");
    let material = prepare(&[document("", text)]).unwrap();
    assert_eq!(pieces(&material, Reason::Invisible), 5, "the mark at the top is no character of the text");
}

#[test]
fn hard_wrapped_prose_flows_again() {
    let prose = story(1, 6);
    let wrapped: Vec<String> = prose.split("\n\n").map(|paragraph| wrap_at(paragraph, 68)).collect();
    assert_eq!(cleaned("a.txt", &wrapped.join("\n\n")), prose);
    assert_eq!(cleaned("a.txt", &wrapped.join("\r\n\r\n").replace('\n', "\r\n").replace("\r\r", "\r")), prose);
}

fn wrap_at(paragraph: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            *line += &format!(" {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn verse_keeps_its_lines_among_wrapped_prose() {
    let verse = "The harbour light goes round and round,\n  and no one counts the turning;\nthe tide comes in without a sound\n  to set the windows burning.";
    let prose = wrap_at(&story(2, 1), 70);
    let text = format!("{prose}\n\n{verse}\n\n{prose2}", prose2 = wrap_at(&story(3, 1), 70));
    assert!(cleaned("a.txt", &text).contains(verse));
    assert_eq!(cleaned("a.txt", verse), verse);
    let blank = "Now every kettle in the village street begins\nTo sing of what the herring boats brought home at noon\nAnd every mother calls her children in by name\nBefore the fog has come to take the road away";
    assert_eq!(cleaned("a.txt", blank), blank);
}

#[test]
fn items_and_dashes_keep_their_place_when_prose_flows_again() {
    let text = "We had everything that a house of this kind could be asked for by--\nyou know who--and in the well-\nkept yard";
    assert_eq!(super::wrap::paragraphs(&text.split('\n').collect::<Vec<_>>()).len(), 1);
    let list = format!(
        "{}\n\n- one thing that is long enough to be broken at the very margin of\n  the page\n- another",
        wrap_at(&story(4, 3), 66)
    );
    let flowed = cleaned("a.txt", &list);
    assert!(flowed.ends_with("the page\n- another"), "{flowed}");
    let dash = format!(
        "{}\n\nshe had walked the whole way home along the new canal with him--\nwith nobody",
        wrap_at(&story(5, 3), 66)
    );
    assert!(cleaned("a.txt", &dash).ends_with("with him--with nobody"));
}

#[test]
fn a_page_gives_its_readable_text() {
    let page = "<!DOCTYPE html><html><head><title>T</title><style>p{}</style><script>if (a<b) '<p>no</p>'</script></head>\
        <body><nav><ul><li><a href=x>Home</a></li></ul></nav><header>Blog</header><div><h1>The day</h1>\
        <p>Caf&eacute; &amp; bar &mdash; <em>one</em>\n line.<br>Then</p><p>Two&nbsp;words</p></div>\
        <ul><li><a href=y>Older posts</a></li></ul><form><p>Mail?</p></form><aside>ad</aside><pre>a\n  b</pre><footer>f</footer>";
    assert_eq!(cleaned("", page), "The day\n\nCafé & bar — one line.\nThen\n\nTwo\u{a0}words\n\na\n  b");
    assert_eq!(pieces(&prepare(&[document("", page)]).unwrap(), Reason::PageFurniture), 9);
}

#[test]
fn an_element_never_closed_swallows_nothing() {
    assert_eq!(cleaned("a.html", "<nav>Food<p>All of the text</p>"), "Food\n\nAll of the text");
    assert_eq!(cleaned("a.html", "</p></nav>a<b>b"), "ab");
}

#[test]
fn markdown_loses_structure_and_keeps_emphasis() {
    let text = "---\ntitle: x\n---\n\n# A day\n\nIt was **so** _very_ [far](http://x.y) `away`.\nSecond line\n\n- one\n- two\n\n> kept\n\n```rust\nfn no() {}\n```\n\n![alt](p.png)\n\n    indented verse\n    stays\n\n<div>block</div>\n";
    let expected =
        "A day\n\nIt was *so* *very* far away.\nSecond line\n\n- one\n- two\n\nkept\n\nindented verse\nstays\n\nblock";
    assert_eq!(cleaned("a.md", text), expected);
    assert_eq!(cleaned("pasted", text), expected);
    let material = prepare(&[document("a.md", text)]).unwrap();
    assert_eq!((pieces(&material, Reason::FrontMatter), pieces(&material, Reason::Code)), (1, 1));
}

#[test]
fn boilerplate_goes_with_its_reason() {
    let text = "Title\n\nTHE BOOK\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nIt began.\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence";
    assert_eq!(cleaned("a.txt", text), "It began.");
    assert_eq!(pieces(&prepare(&[document("a.txt", text)]).unwrap(), Reason::Gutenberg), 6);
    let mail = "Dear all,\nI am home now.\n\nOn Monday, Ann wrote:\n> are you in?\n>\n\nSent from my iPhone\n-- \nB. Miller\nRoom 4";
    let material = prepare(&[document("a.txt", mail)]).unwrap();
    assert_eq!(cleaned("a.txt", mail), "Dear all,\nI am home now.");
    assert_eq!((pieces(&material, Reason::Quoted), pieces(&material, Reason::Signature)), (3, 4));
    let page = "We use cookies to improve your experience.\n\nShe sent from my garden a rose.\n\nShare this:\n\nHome\n\nRead more »";
    assert_eq!(cleaned("a.txt", page), "She sent from my garden a rose.\n\nHome");
}

#[test]
fn every_encoding_gives_the_same_text() {
    let text = "Ça va — “oui”, dit l’élève. ".repeat(3);
    let utf16 = |unit: fn(u16) -> [u8; 2], mark: bool| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(unit).collect()
    };
    let latin: Vec<u8> = text
        .chars()
        .map(|c| match c {
            '—' => 0x97,
            '“' => 0x93,
            '”' => 0x94,
            '’' => 0x92,
            c => c as u32 as u8,
        })
        .collect();
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend(text.bytes());
    let all = [
        utf16(u16::to_le_bytes, true),
        utf16(u16::to_be_bytes, true),
        utf16(u16::to_le_bytes, false),
        utf16(u16::to_be_bytes, false),
        latin,
        marked,
    ];
    for bytes in all {
        let material = prepare(&[Document { name: "a", bytes: &bytes, kind: None }]).unwrap();
        assert_eq!(material.texts[0].training.concat(), text.trim_end());
    }
}

#[test]
fn text_cut_inside_a_character_is_still_utf8() {
    let bytes = "où".as_bytes();
    let material = prepare(&[Document { name: "a", bytes: &bytes[..2], kind: None }]).unwrap();
    assert_eq!(material.texts[0].training, ["o"]);
    assert_eq!(material.texts[0].encoding, Encoding::Utf8);
}

#[test]
fn what_is_no_text_is_refused_with_a_reason() {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
    assert_eq!(code(&noise), "text-unreadable");
    assert_eq!(code(b"%PDF-1.7 x"), "text-unreadable");
    assert_eq!(code(b""), "text-too-short");
    assert_eq!(code(" \n\u{200b}\r\n".as_bytes()), "text-too-short");
    assert_eq!(prepare(&[]).unwrap_err().code(), "text-too-short");
    assert_eq!(code(&vec![b'a'; MAX_BYTES + 1]), "text-too-long");
    let cyrillic: Vec<u8> = (0..300u32).map(|i| if i % 6 == 5 { b' ' } else { 0xe0 + (i % 31) as u8 }).collect();
    assert_eq!(code(&cyrillic), "text-unreadable");
    let beside =
        prepare(&[Document { name: "a.bin", bytes: &noise, kind: None }, document("b.txt", "Some words.")]).unwrap();
    assert!(beside.texts[0].problem.is_some() && beside.texts[1].problem.is_none());
    assert_eq!((beside.training().documents, pieces(&beside, Reason::Unreadable)), (1, 1));
}

#[test]
fn nothing_given_panics() {
    let mut random = fastrand::Rng::with_seed(11);
    let alphabet: Vec<char> =
        "<>/&;-*_#`\n\n\r\t  .!?\"'aA1é中の한ไ🙂\u{200d}\u{fe0f}\u{301}\u{feff}\u{2029}[]()~>\u{0}".chars().collect();
    for kind in [None, Some(Kind::Plain), Some(Kind::Markdown), Some(Kind::Html)] {
        for round in 0..150 {
            let count = random.usize(0..400);
            let bytes: Vec<u8> = match round % 3 {
                0 => (0..count).map(|_| random.u8(..)).collect(),
                1 => (0..count).map(|_| alphabet[random.usize(..alphabet.len())]).collect::<String>().into_bytes(),
                _ => (0..count).map(|_| random.char(..)).collect::<String>().into_bytes(),
            };
            let name = ["", "a.txt", "b.html", "c.md"][random.usize(..4)];
            let _ = prepare(&[Document { name, bytes: &bytes, kind }, Document { name, bytes: &bytes, kind }]);
        }
    }
}

#[test]
fn one_long_line_and_other_scripts_are_cut_in_linear_time() {
    let words = story(13, 4000).replace("\n\n", " ");
    let letters: String = words.chars().filter(|c| c.is_alphabetic()).collect();
    let mut random = fastrand::Rng::with_seed(17);
    let han: String = (0..300_000).map(|_| random.char('\u{4e00}'..'\u{9fa5}')).collect();
    let thai: String = (0..200_000).map(|_| random.char('ก'..'ฮ')).collect();
    let stacked = format!("a{}", "\u{301}".repeat(300_000));
    let families = "👩‍👩‍👧‍👦".repeat(20_000);
    let dots = ". 1".repeat(300_000);
    for (what, text) in [
        ("words", words),
        ("letters", letters),
        ("han", han),
        ("thai", thai),
        ("accents", stacked),
        ("emoji", families),
        ("dots", dots),
    ] {
        assert!(text.len() > 300_000, "{what}");
        let begin = Instant::now();
        let material = prepare(&[document("a.txt", &text)]).unwrap();
        // Seconds for what takes a tenth of one: only a quadratic way would take longer.
        assert!(begin.elapsed().as_secs() < 10, "{what} took {:?}", begin.elapsed());
        let most = material.texts[0].training.iter().map(|passage| passage.chars().count()).max().unwrap();
        assert!(most <= 1500, "{what} has a passage of {most} characters");
        println!("{what}: {:?}, {:?}, {:?}", begin.elapsed(), material.training(), material.dropped());
    }
}

#[test]
fn the_last_tenth_of_each_document_is_held_out() {
    let documents: Vec<Document> = (0..3).map(|i| document("a.txt", &story(20 + i, 40 + 20 * i as usize))).collect();
    let material = prepare(&documents).unwrap();
    for (text, document) in material.texts.iter().zip(&documents) {
        let training: usize = text.training.iter().map(String::len).sum();
        let holdout: usize = text.holdout.iter().map(String::len).sum();
        let share = holdout as f32 / (training + holdout) as f32;
        assert!((0.08..0.12).contains(&share), "{share} is held out");
        assert_eq!(format!("{}\n\n{}", text.training.concat(), text.holdout.concat()).as_bytes(), document.bytes);
    }
    let (training, holdout) = (material.training(), material.holdout());
    assert_eq!(training.words + holdout.words, (40 + 60 + 80) * 48);
    assert_eq!((training.documents, holdout.documents), (3, 3));
}

#[test]
fn small_documents_are_held_out_whole() {
    let documents: Vec<Document> = (0..20).map(|i| document("mail.txt", &story(40 + i, 1))).collect();
    let material = prepare(&documents).unwrap();
    let held_out: Vec<bool> = material.texts.iter().map(|text| !text.holdout.is_empty()).collect();
    assert_eq!(held_out, (0..20).map(|i| i >= 18).collect::<Vec<_>>());
    assert!(material.texts.iter().all(|text| text.training.is_empty() != text.holdout.is_empty()));
    let one = prepare(&documents[..1]).unwrap();
    assert_eq!((one.training().passages, one.holdout().passages), (1, 0));
}

#[test]
fn a_document_given_twice_counts_once() {
    let text = story(60, 30) + "\n\n“No.”\n\n“No.”\n\n" + &story(61, 4) + "\n\nThe end.";
    let once = prepare(&[document("a.txt", &text)]).unwrap();
    let twice = prepare(&[document("a.txt", &text), document("b.txt", &wrap_all(&text))]).unwrap();
    assert_eq!(once.texts[0], twice.texts[0], "what stands first stays as it is");
    assert!(twice.texts[1].training.is_empty() && twice.texts[1].holdout.is_empty(), "{:?}", twice.texts[1]);
    assert_eq!(
        pieces(&once, Reason::Repeated) + pieces(&once, Reason::NearlyRepeated),
        0,
        "two short lines are no repetition"
    );
}

fn wrap_all(text: &str) -> String {
    text.split("\n\n").map(|paragraph| wrap_at(paragraph, 70)).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn an_edited_passage_is_a_repetition() {
    let first = story(70, 20);
    let edited = first.split("\n\n").nth(3).unwrap().replacen(". ", ". However ", 2).to_uppercase();
    let material =
        prepare(&[document("a.txt", &first), document("b.txt", &(story(71, 10) + "\n\n" + &edited))]).unwrap();
    assert_eq!(pieces(&material, Reason::NearlyRepeated), 1);
    let all = material.texts[1].training.concat() + &material.texts[1].holdout.concat();
    assert!(!all.contains(&edited[..60]));
}

#[test]
fn training_holds_no_passage_that_gives_the_hold_out_away() {
    let text = story(80, 40);
    let last = text.rsplit("\n\n").next().unwrap().to_owned();
    let quote: Vec<&str> = last.split(' ').skip(3).take(22).collect();
    // A long passage that quotes the end is no repetition by its share, but would give the end away.
    let quoting = format!("{} {} {}", story(81, 1), quote.join(" "), story(82, 1));
    let material = prepare(&[document("a.txt", &format!("{quoting}\n\n{text}"))]).unwrap();
    assert_eq!(pieces(&material, Reason::GivesAway), 1);
    assert!(material.texts[0].holdout.concat().ends_with(&last));
    assert!(!material.texts[0].training.concat().contains(&quote.join(" ")));
    let short = format!("{} {}\n\n{text}", story(81, 1), quote[..8].join(" "));
    assert_eq!(pieces(&prepare(&[document("a.txt", &short)]).unwrap(), Reason::GivesAway), 0);
}
