"""Nasty lines and what Hugging Face `tokenizers` makes of them.

Writes `tokenization.json`: for an uncased and a cased WordPiece vocabulary of our own, the pieces, and
for each line the ids and the byte offsets of its pieces, without [CLS] and [SEP].
"""

import json
import pathlib
import random
import unicodedata

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

HERE = pathlib.Path(__file__).resolve().parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Written with care: what each line is nasty for stands in its group.
HAND = {
    "empty and blank": ["", " ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2009 \u200a", " a ", "\ta\n"],
    "accents": [
        "café", "cafe\u0301", "Ünïcödé", "naïve façade", "Ångström", "A\u030angstro\u0308m", "crème brûlée",
        "ñandú", "n\u0303andu\u0301", "ÀÈÌÒÙ", "šđčćž", "ŁÓDŹ", "Øre", "æther", "œuvre", "ß", "ẞ", "straße",
        "İstanbul", "ISTANBUL ı", "Việt Nam", "a\u0301\u0302\u0303", "\u0301", "\u0301a", "ǆ ǅ Ǆ", "ﬁn ﬂag ﬀ",
    ],
    "controls": [
        "a\u0000b", "\u0000", "a\u0001\u0002b", "a\u007fb", "a\u0085b", "a\u200bb", "a\u200db", "\ufeffa", "a\ufffdb",
        "soft\u00adhyphen", "left\u200eright\u200fmarks", "\u2028line\u2029paragraph", "a\u001fb", "bell\u0007",
        "\u202aembed\u202c", "a\ue000b", "\U000e0041tag", "a\u0378b", "\ufff9note\ufffa",
    ],
    "CJK": [
        "中文", "我爱你 abc", "a中b", "日本語テスト", "カタカナ", "ひらがな", "한국어", "漢字かな交じり文", "㐀㐁", "𠀀𠀁",
        "豈更車", "丽丸乁", "，。！？", "「引用」", "〇一二三", "全角ＡＢＣ１２３", "ﾊﾝｶｸ", "中。文", "가\u1100\u1161",
    ],
    "emoji": [
        "😀", "hi😀there", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "❤️", "☎️ 1", "©®™", "✓✔", "1️⃣2️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    ],
    "long words": [
        "a" * 99, "a" * 100, "a" * 101, "a" * 250, "é" * 100, "é" * 101, "e\u0301" * 60, "ab" * 51, "中" * 120,
        "x" * 100 + " y", "x" * 101 + " y", "-" * 150, "\u0301" * 150, "a" + "\u0301" * 120,
    ],
    "punctuation": [
        "don't", "it's o'clock", "“quotes” ‘single’", "a-b—c–d", "…", "...", "!?", "a.b.c", "$5.00", "50%", "a/b\\c",
        "`~^|<>+=", "<html>&amp;</html>", "C++ C# F*", "foo_bar", "user@example.com", "https://a.b/c?d=e&f=g#h",
        "¿qué?", "¡ay!", "§ 5", "№ 3", "5 € £ ¥", "a·b", "‹a›", "«b»", "(c)[d]{e}", "#hash @at", "±×÷", "‰", "\u2010\u2011\u2012",
        "\u05f3\u05f4", "\u060c\u061b\u061f", "\u0964", "·", "†‡•",
    ],
    "scripts": [
        "Привет мир", "ПРИВЕТ", "ёлка Ёлка йод", "Ελληνικά", "ΣΑΣ Σας ς", "ά ἀ ᾳ", "עברית", "עִבְרִית", "العربية", "اَلْعَرَبِيَّةُ",
        "हिन्दी", "ไทย", "ไม่", "தமிழ்", "ქართული", "Ა", "հայերեն", "ᏣᎳᎩ", "ꭰ", "mixed смешанный 混合 μικτός",
        "аa cс eе", "Ⅷ ⅷ", "①②", "½ ¼", "x² y₃", "ªº", "ℌ ℵ ℃", "Ａｂｃ", "𝒜𝓑𝔠", "ǅungla", "ŉ", "ΐ", "ﬃ", "ẛ̣",
    ],
    "special pieces": [
        "[CLS]", "[SEP] a [MASK]", "a [UNK] b", "[cls]", "[ MASK ]", "[PAD][PAD]", "##ing", "a ##b", "##", "# #", "[CLS",
        "play ##ing", "[mask]ed",
    ],
    "numbers": ["0", "007", "3.14159", "1,000,000", "1e10", "-1", "12:30", "٣٤٥", "१२३", "１２３", "1st 2nd"],
    "words": [
        "playing played plays", "Unplayable", "UNPLAYABLE", "turn on the lights", "Turn On The Lights",
        "the the the", "lampshade", "kitchenette", "un", "unun", "playplay", "thelight", "x", "xyz", "qqq zzz",
    ],
}

# Ranges that the random lines are drawn from.
RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x61, 0x7A), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA), (0x620, 0x65F), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20BF), (0x2100, 0x214F), (0x3000, 0x30FF), (0x4E00, 0x4E40),
    (0xAC00, 0xAC40), (0xF900, 0xFAFF), (0xFE00, 0xFE6F), (0xFF00, 0xFFEF), (0x1F600, 0x1F64F), (0x0, 0x1F),
    (0x7F, 0x9F), (0x10A0, 0x10FF), (0x13A0, 0x13FF), (0x20000, 0x20020), (0x2F800, 0x2F81F), (0x1D400, 0x1D4FF),
]
RANDOM_LINES = 400


def lines():
    found = [line for group in HAND.values() for line in group]
    draw = random.Random(20)
    words = "turn on the light playing unplayable kitchen Café NAÏVE don't 10 % . , ! lamps".split()
    for number in range(RANDOM_LINES):
        parts = []
        for _ in range(draw.randint(1, 12)):
            kind = draw.random()
            if kind < 0.3:
                parts.append(draw.choice(words))
            elif kind < 0.5:
                parts.append(draw.choice([" ", " ", "  ", "\t", "\u00a0"]))
            else:
                # Most lines keep to few ranges, as text does.
                low, high = RANGES[draw.randrange(len(RANGES))]
                parts += [chr(draw.randint(low, high)) for _ in range(draw.randint(1, 4))]
        found.append("".join(parts))
    return found


def vocabulary(cased):
    """Letters, some CJK and symbols, and enough words to split nontrivially."""
    singles = "abcdefghijklmnopqrstuvwxyz0123456789" + "абвгдеёжзийклмнопрстухчшыьэюя" + "αβγδεηικλμνορσςτυω"
    singles += "中文我爱你日本語漢字一二三かなカタ한국ß€æœøłđıאבعہका😀👍❤✓½²ﬁ" + ".,!?'\"-:;/%$#&@()[]{}<>+=*_`~^|\\…“”‘’—–«»¿¡§©，。！？「」·•"
    if cased:
        singles += "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "éèüöäåñçÀÉÜÖÄÅПРИВЕТΣ" + "\u0301\u0308"
    singles = list(dict.fromkeys(unicodedata.normalize("NFC", singles)))
    words = "the turn on light play un kitchen lamp cafe naive don able is it stra fa".split()
    if cased:
        words += ["The", "Turn", "On", "Un", "UN", "café", "Café", "naï"]
    words += ["при", "мир", "日本", "aa", "aaaa"]
    pieces = ["ing", "ed", "s", "er", "able", "play", "light", "ette", "shade", "chen", "aa", "aaaaaaaa", "вет", "ve", "00"]
    continuations = [f"##{single}" for single in singles] + [f"##{piece}" for piece in pieces]
    return list(dict.fromkeys(SPECIAL + singles + words + continuations))


def tokenizer(pieces, cased):
    made = Tokenizer(WordPiece(
        {piece: id for id, piece in enumerate(pieces)},
        unk_token="[UNK]",
        max_input_chars_per_word=100,
        continuing_subword_prefix="##",
    ))
    made.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased
    )
    made.pre_tokenizer = BertPreTokenizer()
    return made


def encoded(made, line):
    encoding = made.encode(line, add_special_tokens=False)
    starts = [0]
    for char in line:
        starts.append(starts[-1] + len(char.encode()))
    offsets = [[starts[start], starts[end]] for start, end in encoding.offsets]
    return {"text": line, "ids": encoding.ids, "offsets": offsets}


def main():
    golden = {}
    for name in ["uncased", "cased"]:
        pieces = vocabulary(cased=name == "cased")
        made = tokenizer(pieces, cased=name == "cased")
        golden[name] = {
            "vocabulary": pieces,
            "lower_case": name == "uncased",
            "lines": [encoded(made, line) for line in lines()],
        }
    assert len(golden["cased"]["lines"]) >= 500
    parts = []
    for name, one in golden.items():
        cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in one["lines"])
        pieces = json.dumps(one["vocabulary"], separators=(",", ":"))
        lower = json.dumps(one["lower_case"])
        parts.append(f'"{name}":{{"lower_case":{lower},"vocabulary":{pieces},\n"lines":[\n{cases}\n]}}')
    (HERE / "tokenization.json").write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
