//! The words of the generated texts and the pieces of the generated vocabularies.

/// Verbs, devices, rooms and the rest of a house that is spoken to.
pub const VERBS: [&str; 8] =
    ["turn on", "turn off", "dim", "open", "close", "start", "stop", "is there"];
/// What is spoken about.
pub const DEVICES: [&str; 10] = [
    "the lamp",
    "the fan",
    "the radio",
    "the heater",
    "the blinds",
    "the kettle",
    "a timer",
    "the alarm",
    "my playlist",
    "the door",
];
/// Where.
pub const ROOMS: [&str; 8] = [
    "in the kitchen",
    "in the bedroom",
    "in the garage",
    "in the office",
    "upstairs",
    "outside",
    "on the second floor",
    "everywhere",
];
/// When and how.
pub const ENDS: [&str; 10] = [
    "",
    "now",
    "please",
    "at 7:30",
    "in 20 minutes",
    "until tomorrow morning",
    "to 50 %",
    "again",
    "- thanks!",
    "when i'm home",
];

/// Syllables that made-up words consist of.
pub const SYLLABLES: [&str; 24] = [
    "ba", "den", "fi", "gor", "hu", "kal", "lo", "mer", "nu", "pas", "qui", "ro", "sta", "ti",
    "um", "ver", "wo", "xan", "ya", "zel", "ing", "er", "ly", "tion",
];

/// Characters of scripts without spaces, of which the vocabularies hold every other one.
pub const CHINESE: [&str; 12] =
    ["灯", "开", "关", "厨", "房", "卧", "室", "门", "窗", "今", "天", "气"];

/// Words with marks, capitals and letters of other scripts.
pub const FOREIGN: [&str; 16] = [
    "café",
    "Zürich",
    "naïve",
    "ÉCOLE",
    "señor",
    "Ångström",
    "łódź",
    "crème",
    "свет",
    "кухня",
    "Ελλάδα",
    "φως",
    "ضوء",
    "מטבח",
    "부엌",
    "キッチン",
];

/// Punctuation and symbols, among them some that count as punctuation in ASCII only.
pub const MARKS: [&str; 16] =
    [",", ".", "!", "?", "...", "(", ")", "--", "$", "€", "%", "«", "»", "…", "、", "🙂"];

/// Texts made to be difficult.
pub const NASTY: [&str; 48] = [
    "",
    " ",
    "\t\r\n \u{a0}\u{3000}",
    "\0",
    "\u{fffd}",
    "a\0b\u{fffd}c\u{7f}d\u{85}e",
    "\u{feff}turn on the lamp",
    "soft\u{ad}hyphen zero\u{200b}width joiner\u{200d}s",
    ".",
    "?!?!?!",
    "- - - - - - - - - -",
    "[CLS] turn [SEP] on [MASK] the [UNK] lamp [PAD]",
    "##ing ##er ##",
    "e\u{301}cole cafe\u{301} A\u{30a}ngstro\u{308}m",
    "\u{301}\u{301}\u{301}",
    "a\u{327}\u{301} a\u{301}\u{327} q\u{307}\u{323} q\u{323}\u{307}",
    "İstanbul ISTANBUL ıstanbul",
    "ﬁne ﬂoor ﬃ ﬀ",
    "Straße STRASSE ẞ ß",
    "ǅ ǈ ΑΣ ας ΣΑΣ",
    "가나다 각 \u{1100}\u{1161}\u{11a8}",
    "今天天气 很好 吗？",
    "开灯 turn on 厨房 the 灯 lamp",
    "\u{20000}\u{2a6d6}\u{2f800} \u{f900}",
    "キッチン ｷｯﾁﾝ ガ が か\u{3099}",
    "اَلضَّوْء في المطبخ",
    "हिन्दी में प्रकाश",
    "ภาษาไทย ไฟ",
    "👩\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈 🇨🇭 👍🏽",
    "𝓉𝓊𝓇𝓃 𝕠𝕟 𝐭𝐡𝐞 𝗅𝖺𝗆𝗉",
    "１２３ ４：５６ ％",
    "½ ² ³ ① Ⅳ ㎏",
    "don't can't won't it's o'clock",
    "user@example.org https://example.org/a?b=c&d=e#f",
    "3.14159 -273.15 1e-38 0x7f 1,000,000",
    "$5.00 ^ ` ~ | < > + =",
    "“quotes” ‘single’ «guillemets» „low“",
    "em—dash en–dash minus−sign",
    "line\u{2028}separator paragraph\u{2029}separator",
    "\u{e000}\u{f8ff} \u{10ffff}",
    "\u{378} \u{e0001}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z x y z",
    "lamplamplamplamp kitchenkitchen turnon",
    "TURN ON THE LAMP IN THE KITCHEN",
    "tUrN oN",
    "   leading and trailing   ",
];

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// A vocabulary: special tokens, letters, digits and some punctuation, whole words of the lists above,
/// made-up words' syllables at the start and inside of words, some letters of other scripts.
///
/// `cased` keeps capitals and marks, as a cased tokenizer gives them. Every third word is left out,
/// to be put together from pieces.
pub fn pieces(cased: bool) -> Vec<String> {
    let mut pieces: Vec<String> = SPECIAL.map(String::from).to_vec();
    let mut push = |piece: String| {
        if !piece.is_empty() && !pieces.contains(&piece) {
            pieces.push(piece);
        }
    };
    for letter in ('a'..='z').chain('0'..='9') {
        push(letter.into());
        push(format!("##{letter}"));
    }
    for mark in MARKS.iter().flat_map(|mark| mark.chars()).filter(|&mark| mark != '»') {
        push(mark.into());
    }
    push("'".into());
    push(":".into());
    for syllable in SYLLABLES {
        push(syllable.into());
        push(format!("##{syllable}"));
    }
    let phrases = VERBS.iter().chain(&DEVICES).chain(&ROOMS).chain(&ENDS);
    let words = phrases.flat_map(|phrase| phrase.split_whitespace());
    for (number, word) in words.enumerate() {
        if number % 3 != 2 && word.chars().all(char::is_alphabetic) {
            push(word.into());
        }
    }
    for character in CHINESE.iter().step_by(2) {
        push((*character).into());
    }
    if cased {
        for word in FOREIGN.iter().step_by(2) {
            push((*word).into());
        }
        for letter in 'A'..='Z' {
            push(letter.into());
            push(format!("##{letter}"));
        }
        for letter in "éüïÉñÅłóźè\u{301}\u{327}".chars() {
            push(format!("##{letter}"));
        }
    } else {
        for letter in "светкухняελαδφω".chars() {
            push(letter.into());
            push(format!("##{letter}"));
        }
    }
    pieces
}
