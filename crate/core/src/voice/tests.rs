//! The laws of measuring a voice.

use std::sync::Arc;

use super::*;

const TIDE: &str = "The tide went out before anyone in the harbour had woken. Old Marta counted the boats twice, and \
    twice she found one missing, which was her brother's. She told nobody. By noon the whole village knew, because \
    Marta's face was never any good at keeping a thing to itself, and the priest had asked Marta outright.";

fn training() -> Arc<Training> {
    Arc::new(Training::new(&[TIDE, "Nothing else was written down that year, and nothing else was lost."]))
}

/// The longest copied run and the share of copied eights, by comparing every pair of places.
fn slow(texts: &[&str], text: &str) -> (usize, usize) {
    let words = |text: &str| crate::text::folded_words(text).map(|(_, _, word)| word).collect::<Vec<_>>();
    let text = words(text);
    let (mut longest, mut eights) = (0, 0);
    for at in 0..text.len() {
        let mut best = 0;
        for training in texts.iter().map(|text| words(text)) {
            for place in 0..training.len() {
                best = best.max(text[at..].iter().zip(&training[place..]).take_while(|(a, b)| a == b).count());
            }
        }
        longest = longest.max(best);
        eights += usize::from(best >= RUN);
    }
    (longest, eights)
}

/// Words drawn from few, so that runs recur.
fn babble(random: &mut fastrand::Rng, words: usize) -> String {
    const WORDS: [&str; 9] = ["sea", "the", "salt's", "came,", "in", "under", "çéd", "3.5", "海"];
    (0..words).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

#[test]
fn copied_runs_are_those_of_an_exhaustive_search() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..30 {
        let (first, second) = (babble(&mut random, 60), babble(&mut random, 40));
        let training = Arc::new(Training::new(&[&first, &second]));
        let split = random.usize(5..50);
        let words: Vec<&str> = first.split(' ').collect();
        let text = format!("{} {} {}", babble(&mut random, 20), words[split..].join(" "), babble(&mut random, 20));
        let copied = training.copied(&text, 4);
        let (longest, eights) = slow(&[&first, &second], &text);
        assert_eq!((copied.longest, copied.copied_runs), (longest, eights), "round {round}");
    }
}

#[test]
fn the_training_text_is_copied_whole_and_a_strange_one_not_at_all() {
    let whole = training().copied(TIDE, 8);
    assert_eq!((whole.share(), whole.longest), (1.0, whole.words));
    assert_eq!(whole.ranges.first(), Some(&(0..TIDE.len() - 1)), "all but the full stop");
    let strange = training().copied("A wholly different matter occupies several economists tonight in Geneva.", 8);
    assert_eq!((strange.share(), strange.ranges.len()), (0.0, 0));
    assert_eq!(training().copied("", 8), Copied::default());
}

#[test]
fn a_run_longer_than_the_index_sorts_by_is_followed_to_its_end() {
    let mut random = fastrand::Rng::with_seed(5);
    let long: String = (0..300).map(|_| format!("{} ", random.u32(..))).collect();
    let copied = Arc::new(Training::new(&[&long])).copied(&format!("first {long}last"), 8);
    assert_eq!((copied.longest, copied.words), (300, 302));
}

#[test]
fn runs_do_not_go_from_one_document_to_the_next() {
    let across = "face had asked Marta outright nothing else was written down that year";
    assert_eq!(training().copied(across, 3).longest, 7);
    assert_eq!(training().copied("asked MARTA outright — nothing else was written", 3).ranges.len(), 2);
}

#[test]
fn pieces_find_what_the_whole_text_finds() {
    let mut random = fastrand::Rng::with_seed(9);
    let training = Arc::new(Training::new(&[babble(&mut random, 80), TIDE.to_owned()]));
    for _ in 0..200 {
        let text = format!("{} {} {}", babble(&mut random, 30), &TIDE[60..200], babble(&mut random, 30));
        let mut copying = Copying::new(Arc::clone(&training), 5);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let cut = rest.char_indices().nth(random.usize(1..9)).map_or(rest.len(), |(at, _)| at);
            copying.push(&rest[..cut]);
            rest = &rest[cut..];
        }
        assert_eq!(copying.finish(), training.copied(&text, 5));
    }
}

#[test]
fn each_piece_says_whether_it_ends_in_a_copied_run() {
    let mut copying = Copying::new(training(), 4);
    let pieces = ["So Old", " Mar", "ta", " counted", " the", " boats", ", twi", "ce", " over", ". The"];
    let mut text = String::new();
    let marks = pieces.map(|piece| {
        text.push_str(piece);
        copying.push(piece).map(|range| text[range].to_owned())
    });
    let run = |words: &str| Some(words.to_owned());
    let expected = [
        None,
        None,
        None,
        None,
        run("Old Marta counted the"),
        run("Old Marta counted the boats"),
        None,
        run("Old Marta counted the boats, twice"),
        None,
        None,
    ];
    assert_eq!(marks, expected);
}

#[test]
fn a_run_that_would_grow_too_long_is_told_before_it_is_written() {
    let mut copying = Copying::new(training(), 4);
    copying.push("Yesterday Old Marta counted the");
    assert!(copying.would_copy(" boats", 4));
    assert!(!copying.would_copy(" boats", 5));
    assert!(copying.would_copy(" boats twice", 5));
    assert!(!copying.would_copy("m all", 4), "the last word has become another");
    assert!(!copying.would_copy(" geese", 4));
    assert_eq!(copying.finish().longest, 4, "asking changes nothing");
}

#[test]
fn names_are_capitalised_inside_sentences_and_not_elsewhere() {
    let text = format!(
        "{TIDE} Marta's mother spoke to Mr. Quill. “Quill,” she said, “is late.” I'm told that Quill and I left in May. \
         May we? You may. THE END OF MARTA. The Old Man And The Boats. It was O'Brien; it is O’Brien’s. It was SO loud."
    );
    let names = Names::find(&[&text]);
    let list: Vec<(&str, usize)> = names.list().iter().map(|name| (name.word.as_str(), name.count)).collect();
    assert_eq!(list, [("Marta", 4), ("Quill", 3), ("O'Brien", 2)]);
    let found = names.count("Then Marta and marta met QUILL’s aunt Petra; Marta left.");
    assert_eq!(found, [Name { word: "Marta".into(), count: 2 }, Name { word: "Quill".into(), count: 1 }]);
}

#[test]
fn capitals_that_are_no_sign_of_names_give_none() {
    let german =
        "Der Mann ging mit dem Hund in den Wald, und der Hund sah den Mann. Dann sah der Mann im Wald den Fuchs.";
    assert!(Names::find(&[german]).list().is_empty());
    assert!(Names::find(&["海辺の村に猫がいた。猫は海を見た。海は猫を見た。"]).list().is_empty());
    assert!(Names::find(&[""]).list().is_empty());
}

#[test]
fn rhythm_counts_sentences_and_words() {
    let text = "Mr. J. Quill came home. He slept! And then, for once, nobody in the entire building woke him before nine?\n\n—";
    let rhythm = rhythm(text);
    assert_eq!((rhythm.sentences.count, rhythm.sentences.quartiles), (3, [3.5, 5.0, 9.0]));
    assert_eq!(rhythm.sentences.mean, 20.0 / 3.0);
    assert_eq!(rhythm.sentences.histogram[..4], [1, 1, 1, 0]);
    assert_eq!(rhythm.words.histogram.iter().sum::<usize>(), 20);
    assert_eq!(rhythm.words.count, 20);
    let none = super::rhythm("…");
    assert_eq!((none.sentences.count, none.words.mean), (0, 0.0));
}

#[test]
fn prints_mark_what_the_text_itself_marks() {
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..200 {
        let texts = [babble(&mut random, 70), TIDE.to_owned(), babble(&mut random, 12)];
        let training = Arc::new(Training::new(&texts));
        let prints = Arc::new(Prints::new(&texts, Vec::new()));
        let words: Vec<&str> = texts[0].split(' ').collect();
        let (from, to) = (random.usize(..30), random.usize(35..70));
        let text = format!("{} {} {}", babble(&mut random, 9), words[from..to].join(" "), &TIDE[random.usize(..90)..]);
        let (whole, told) = (training.copied(&text, RUN), prints.copied(&text));
        assert_eq!(whole.ranges, told.ranges, "round {round}: {text}");
        assert_eq!((whole.words, whole.runs, whole.copied_runs), (told.words, told.runs, told.copied_runs));
        assert!(!whole.ranges.is_empty() && told.longest >= whole.longest, "round {round}");
        let (mut slow, mut quick) = (Copying::new(training, RUN), Copying::new(prints, RUN));
        for piece in text.split_inclusive(['e', ' ']) {
            assert_eq!(slow.would_copy(piece, RUN - 1), quick.would_copy(piece, RUN - 1), "round {round}: {piece:?}");
            assert_eq!(slow.push(piece), quick.push(piece), "round {round}: {piece:?}");
        }
    }
}

#[test]
fn prints_come_back_from_their_bytes_and_damage_is_told() {
    let prints = Prints::new(&[TIDE], vec!["Marta".into(), "O'Brien".into()]);
    let bytes = prints.to_bytes();
    assert_eq!(Prints::from_bytes(&bytes).unwrap(), prints);
    assert!(!bytes.windows(4).any(|window| window == b"boat"), "no text stands in them but names");
    assert_eq!(Prints::from_bytes(&Prints::default().to_bytes()).unwrap(), Prints::default());
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..2_000 {
        let mut damaged = bytes.clone();
        match random.u32(..3) {
            0 => damaged.truncate(random.usize(..bytes.len())),
            1 => damaged.extend((0..random.usize(1..9)).map(|_| random.u8(..))),
            _ => damaged[random.usize(..bytes.len())] ^= 1 << random.u32(..8),
        }
        let told = Prints::from_bytes(&damaged).map_err(|e| e.code());
        assert_eq!(told, Err("adapter-corrupt"), "round {round}");
        // Someone who makes the digest fit may give any numbers: they are refused or read, and nothing panics.
        let body = damaged.len().saturating_sub(32);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&damaged[..body]);
        damaged.truncate(body);
        damaged.extend_from_slice(&digest);
        if let Ok(read) = Prints::from_bytes(&damaged) {
            Arc::new(read).copied(TIDE);
        }
    }
}

#[test]
fn names_are_told_however_they_end() {
    let prints = Prints::new(&[TIDE], vec!["Marta".into(), "O'Brien".into()]);
    assert!(["Marta", "Marta's", "MARTA", "O’Brien", "O'Brien's"].iter().all(|word| prints.is_name(word)));
    assert!(!["marta", "Martas", "The", ""].iter().any(|word| prints.is_name(word)));
    let counted = prints.count_names("O'Brien met Marta. Marta’s brother met marta.");
    assert_eq!(counted, [Name { word: "Marta".into(), count: 2 }, Name { word: "O'Brien".into(), count: 1 }]);
}

#[test]
fn nothing_read_panics() {
    let mut random = fastrand::Rng::with_seed(21);
    let training = training();
    for _ in 0..300 {
        let mut copying = Copying::new(Arc::clone(&training), random.usize(0..5));
        let mut all = String::new();
        for _ in 0..random.usize(0..20) {
            let noise: String = (0..random.usize(0..6)).map(|_| random.char(..)).collect();
            let place = random.usize(..TIDE.len() - 20);
            let piece = if random.bool() { noise } else { TIDE[place..place + 20].to_owned() };
            all.push_str(&piece);
            copying.would_copy(&piece, 3);
            if let Some(range) = copying.push(&piece) {
                assert!(all.get(range).is_some(), "ranges lie between characters");
            }
        }
        let copied = copying.finish();
        assert!(copied.ranges.iter().all(|range| all.get(range.clone()).is_some()));
        Names::find(&[&all]).count(&all);
        rhythm(&all);
    }
}
