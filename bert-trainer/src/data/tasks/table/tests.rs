#![allow(clippy::unwrap_used)]
use std::io::Write as _;

use super::*;
use crate::data::tests::data_file;

fn choose(text: &str, second: &str, label: &str) -> Wanted {
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let columns = ColumnChoice { text: some(text), second: some(second), label: some(label) };
    Wanted { columns, label: true, ..Wanted::default() }
}

fn house(second: bool, label: bool) -> Wanted {
    Wanted { second: Some(second), label, ..Wanted::default() }
}

fn many(wanted: Wanted) -> Wanted {
    Wanted { many_labels: true, ..wanted }
}

fn read_bytes(
    name: &str,
    bytes: impl AsRef<[u8]>,
    wanted: &Wanted,
) -> Result<Vec<Fields>, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_table(&path, TableFormat::of(&path), wanted)
}

/// `line: text | second | label | labels`
fn shown(rows: &[Fields]) -> Vec<String> {
    let show = |row: &Fields| {
        let optional = |field: &Option<String>| field.clone().unwrap_or("-".into());
        let labels = row.labels.join("+");
        let (second, label) = (optional(&row.second), optional(&row.label));
        format!("{}: {} | {second} | {label} | {labels}", row.line, row.text)
    };
    rows.iter().map(show).collect()
}

fn check(name: &str, bytes: impl AsRef<[u8]>, wanted: &Wanted, expected: &[&str]) {
    assert_eq!(shown(&read_bytes(name, bytes, wanted).unwrap()), expected, "{name}");
}

fn check_error(name: &str, bytes: impl AsRef<[u8]>, wanted: &Wanted, expected: &str) {
    let message = read_bytes(name, bytes, wanted).unwrap_err().to_string();
    // Errors about options name no file.
    let found = message.split_once(name).map_or(message.as_str(), |(_, found)| found);
    assert_eq!(found, expected, "{name}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn names_tell_formats() {
    for (name, format) in [
        ("a.tsv", TableFormat::Tsv),
        ("a.txt", TableFormat::Tsv),
        ("csv", TableFormat::Tsv),
        (".gz", TableFormat::Tsv),
        ("a.csv.tsv", TableFormat::Tsv),
        ("b/A.CSV", TableFormat::Csv),
        ("a.b.csv.xz", TableFormat::Csv),
        ("a.jsonl", TableFormat::JsonLines),
        ("a.ndjson.zst", TableFormat::JsonLines),
        ("a.json.gz", TableFormat::JsonLines),
    ] {
        assert_eq!(TableFormat::of(Path::new(name)), format, "{name}");
    }
}

#[test]
fn without_choices_the_label_comes_first() {
    let expected = ["1: one two | - | a | ", "3: three | - | b x | "];
    check("t.tsv", "\u{feff}a\tone two\r\n \t\nb x\t three\n", &house(false, true), &expected);
    check("t.csv", "\u{feff}a,one two\r\n , \nb x, three", &house(false, true), &expected);
    let expected = ["1: A. | B. | same | "];
    check("t.tsv", "same\tA.\tB.\n", &house(true, true), &expected);
    check("t.csv", "same,A.,B.\n", &house(true, true), &expected);
    // Texts alone are a file without labels, where none is needed.
    check("t.tsv", "A.\nB.\n", &house(false, false), &["1: A. | - | - | ", "2: B. | - | - | "]);
    check("t.tsv", "A.\tB.\n", &house(true, false), &["1: A. | B. | - | "]);
    check("t.tsv", "same\tA.\tB.\n", &house(true, false), &expected);
    // No quoting in TSV.
    check("t.tsv", "a\t\"one, \"two\n", &house(false, true), &["1: \"one, \"two | - | a | "]);
}

#[test]
fn the_first_row_tells_whether_there_is_a_second_text() {
    let wanted = Wanted { second: None, ..house(false, true) };
    check("t.tsv", "3\tA.\n", &wanted, &["1: A. | - | 3 | "]);
    check("t.tsv", "3\tA.\tB.\n", &wanted, &["1: A. | B. | 3 | "]);
    let expected = ":2: expected 2 columns `label<TAB>text`, found 3 columns";
    check_error("t.tsv", "3\tA.\n3\tA.\tB.\n", &wanted, expected);
    let expected = ":1: expected 3 columns `label<TAB>text<TAB>second text`, found 4 columns";
    check_error("t.tsv", "3\tA.\tB.\tC.\n", &wanted, expected);
    let expected = ":1: expected 2 columns `label<TAB>text`, found 1 column";
    check_error("t.tsv", "A.\n", &wanted, expected);
    let unlabelled = Wanted { label: false, ..wanted.clone() };
    check("t.tsv", "A.\n", &unlabelled, &["1: A. | - | - | "]);
    check("t.tsv", "3\tA.\n", &unlabelled, &["1: A. | - | 3 | "]);
    let headed = Wanted { has_header: true, ..wanted.clone() };
    check("t.csv", "label,text\n3,A.\n", &headed, &["2: A. | - | 3 | "]);
    check("t.csv", "label,sentence2,text\n3,B.,A.\n", &headed, &["2: A. | B. | 3 | "]);
    let lines = "{\"text\":\"A.\",\"label\":3}\n{\"text\":\"A.\",\"second\":\"B.\",\"label\":3}\n";
    check("t.jsonl", lines, &wanted, &["1: A. | - | 3 | ", "2: A. | B. | 3 | "]);
    // By number, only what is chosen.
    let wanted = Wanted { second: None, ..choose("2", "", "1") };
    check("t.tsv", "3\tA.\tB.\n", &wanted, &["1: A. | - | 3 | "]);
}

#[test]
fn wrong_numbers_of_columns_are_named() {
    let (one, two) = (house(false, true), house(true, true));
    let expected = ":2: expected 2 columns `label<TAB>text`, found 1 column";
    check_error("t.tsv", "a\tb\nno tab\n", &one, expected);
    let expected = ":1: expected 2 columns `label<TAB>text`, found 3 columns";
    check_error("t.tsv", "a\tb\tc\n", &one, expected);
    let expected = ":1: expected 3 columns `label,text,second text`, found 2 columns";
    check_error("t.csv", "a,b\n", &two, expected);
    let expected = ":1: expected 3 columns `label<TAB>text<TAB>second text`, found 4 columns";
    check_error("t.tsv", "a\tb\tc\td\n", &house(true, false), expected);
    let expected = ":2: expected 1 column `text`, found 2 columns";
    check_error("t.tsv", "b\na\tb\n", &house(false, false), expected);
    let expected = ":3: expected 2 columns as in the header, found 3 columns";
    check_error("t.tsv", "label\ttext\na\tb\na\tb\tc\n", &choose("text", "", ""), expected);
    let expected = ":2: expected 4 or more columns, found 3 columns";
    check_error("t.tsv", "a\tb\tc\td\te\na\tb\tc\n", &choose("4", "", "2"), expected);
}

#[test]
fn empty_fields_are_errors() {
    let wanted = house(true, true);
    let expected = ":1: expected a label in column 1, found an empty one";
    check_error("t.tsv", " \tb\tc\n", &wanted, expected);
    check_error("t.csv", "\"\",b,c\n", &wanted, expected);
    check_error(
        "t.tsv",
        "a\t \tc\n",
        &wanted,
        ":1: expected a text in column 2, found an empty one",
    );
    let expected = ":1: expected a second text in column 3, found an empty one";
    check_error("t.tsv", "a\tb\t\n", &wanted, expected);
    let json = r#"{"text":" ","label":"a"}"#;
    let expected = ":1: expected a text in \"text\", found an empty one";
    check_error("t.jsonl", json, &house(false, true), expected);
    let json = r#"{"text":"a","label":""}"#;
    let expected = ":1: expected a label in \"label\", found an empty one";
    check_error("t.jsonl", json, &house(false, true), expected);
}

#[test]
fn a_file_without_rows_is_an_error() {
    let wanted = house(false, true);
    for bytes in ["", "\n \n", "\u{feff}"] {
        check_error("t.tsv", bytes, &wanted, ": expected rows of TSV, found no row");
        check_error("t.csv", bytes, &wanted, ": expected rows of CSV, found no row");
        check_error("t.jsonl", bytes, &wanted, ": expected rows of JSON lines, found no row");
    }
    let wanted = choose("text", "", "label");
    check_error("t.csv", "label,text\n", &wanted, ": expected rows of CSV, found no row");
    let missing = read_table(Path::new("/none.csv"), TableFormat::Csv, &wanted).unwrap_err();
    assert!(missing.to_string().starts_with("/none.csv: cannot read"), "{missing}");
}

#[test]
fn the_files_of_glue_load_as_they_are() {
    let label = |name| choose("sentence1", "sentence2", name);
    let rows: &[(&str, &str, Wanted, &str)] = &[
        (
            "SST-2",
            "sentence\tlabel\na gem \t1\n",
            choose("sentence", "", "label"),
            "2: a gem | - | 1 | ",
        ),
        ("CoLA", "gj04\t0\t*\tHim left.\n", choose("4", "", "2"), "1: Him left. | - | 0 | "),
        (
            "MRPC",
            "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tHe said \"no.\tHe \"said\" no.\r\n",
            choose("#1 String", "#2 String", "Quality"),
            "2: He said \"no. | He \"said\" no. | 1 | ",
        ),
        (
            "STS-B",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tmain\tnews\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t4.800\n",
            label("score"),
            "2: A plane. | An air plane. | 4.800 | ",
        ),
        (
            "QQP",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tHow?\tIn what way?\t1\n",
            choose("question1", "question2", "is_duplicate"),
            "2: How? | In what way? | 1 | ",
        ),
        (
            "MNLI",
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
             sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
             0\t1\t1n\tfiction\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tIt rains.\tIt is wet.\tneutral\tentailment\n",
            label("gold_label"),
            "2: It rains. | It is wet. | entailment | ",
        ),
        (
            "QNLI",
            "index\tquestion\tsentence\tlabel\n0\tWho?\tHe did.\tnot_entailment\n",
            choose("question", "sentence", "label"),
            "2: Who? | He did. | not_entailment | ",
        ),
        (
            "RTE",
            "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n",
            label("label"),
            "2: A. | B. | entailment | ",
        ),
        (
            "WNLI",
            "index\tsentence1\tsentence2\tlabel\n0\tA fell.\tB fell.\t0\n",
            label("label"),
            "2: A fell. | B fell. | 0 | ",
        ),
    ];
    for (name, bytes, wanted, expected) in rows {
        let found = read_bytes("train.tsv", bytes, wanted).unwrap();
        assert_eq!(shown(&found), [*expected], "{name}");
    }
    // The usual names need no choice.
    let (_, sst, ..) = &rows[0];
    let wanted = Wanted { has_header: true, ..house(false, true) };
    check("train.tsv", sst, &wanted, &["2: a gem | - | 1 | "]);
    let (_, rte, ..) = &rows[7];
    let wanted = Wanted { has_header: true, ..house(true, true) };
    check("train.tsv", rte, &wanted, &["2: A. | B. | entailment | "]);
}

#[test]
fn choices_that_do_not_fit_are_errors_that_list_the_header() {
    let header = "index\tsentence\tlabel\n0\tA.\t1\n";
    let expected = ":1: expected one column \"text\" in the header (--text-column), found \"index\", \"sentence\", \"label\"";
    check_error("t.tsv", header, &choose("text", "", "label"), expected);
    let expected = ":1: expected a column \"second\", \"sentence2\" or \"hypothesis\" in the header, \
                    or --second-column, found \"index\", \"sentence\", \"label\"";
    let wanted = Wanted { second: Some(true), ..choose("sentence", "", "label") };
    check_error("t.tsv", header, &wanted, expected);
    let expected =
        ":1: expected a column \"label\" in the header, or --label-column, found \"a\", \"b\"";
    check_error("t.csv", "a,b\n1,2\n", &choose("b", "", ""), expected);
    let expected =
        ":1: expected one column \"a\" in the header (--text-column), found \"a\", \"a\"";
    check_error("t.csv", "a,a\n1,2\n", &choose("a", "", ""), expected);
    let expected = ":1: expected a column 4 (--label-column), found 3 columns";
    check_error("t.tsv", header, &choose("sentence", "", "4"), expected);
    for number in ["0", "99999999999999999999999"] {
        let expected = format!("text-column: expected a name, or a number from 1, found {number}");
        check_error("t.tsv", header, &choose(number, "", "label"), &expected);
        check_error("t.tsv", header, &choose(number, "", "3"), &expected);
    }
    let expected = "label-column: expected a column of its own, found column 2";
    check_error("t.tsv", header, &choose("2", "", "2"), expected);
    check_error("t.tsv", header, &choose("sentence", "", "2"), expected);
    let expected = "second-column: expected a column of its own, found column 2";
    check_error("t.tsv", header, &choose("2", "2", "1"), expected);
    let long = (0..30).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
    let message = read_bytes("t.csv", long, &choose("x", "", "")).unwrap_err().to_string();
    assert!(message.ends_with("\"c19\", … (30 in all)"), "{message}");
}

#[test]
fn numbers_and_names_may_be_mixed() {
    let table = "id,stars,review\n1,5,good\n";
    check("t.csv", table, &choose("review", "", "2"), &["2: good | - | 5 | "]);
    // By numbers alone there is no header, unless it is said.
    let rows = ["1: review | - | stars | ", "2: good | - | 5 | "];
    check("t.csv", table, &choose("3", "", "2"), &rows);
    let headed = Wanted { has_header: true, ..choose("3", "", "2") };
    check("t.csv", table, &headed, &rows[1..]);
    // What is not chosen by number stands where this project puts it.
    check("t.tsv", "a\tb\tc\n", &choose("3", "", ""), &["1: c | - | a | "]);
    let unlabelled = Wanted { label: false, ..choose("3", "", "") };
    check("t.tsv", "a\tb\tc\n", &unlabelled, &["1: c | - | - | "]);
    // A label is taken where there is one by name.
    let unlabelled = Wanted { label: false, ..choose("text", "", "") };
    check("t.csv", "text,label\na,b\n", &unlabelled, &["2: a | - | b | "]);
    check("t.csv", "text,other\na,b\n", &unlabelled, &["2: a | - | - | "]);
}

#[test]
fn csv_is_rfc_4180() {
    let table = "text,label\r\n\r\n\"a, \"\"b\"\"\r\nc\",x\r\n\r\n\r\nd,\"y\nz\"\r\ne,w";
    let expected = ["3: a, \"b\"\nc | - | x | ", "7: d | - | y\nz | ", "9: e | - | w | "];
    check("t.csv", table, &choose("text", "", "label"), &expected);
    let expected = ":9: expected 2 columns as in the header, found 1 column";
    check_error("t.csv", table.replace("e,w", "e"), &choose("text", "", "label"), expected);
}

#[test]
fn a_quote_that_is_left_open_does_not_swallow_the_rest() {
    let wanted = house(false, true);
    let expected = ":2: expected a closing quote for each opening one, found the end of the file";
    for table in ["a,b\nc,\"d\ne,f\n", "a,b\nc,\"d", "a,b\nc,\"", "a,b\n\"", "a,b\nc,\"d\"\"\n\n"] {
        check_error("t.csv", table, &wanted, expected);
    }
    for (table, text) in
        [("c,\"d\"", "d"), ("c,\"d\n\"\n", "d"), ("c,5\"", "5\""), ("c,\"d\"\"\"", "d\"")]
    {
        check("t.csv", table, &wanted, &[&format!("1: {text} | - | c | ")]);
    }
    let long = format!("a,b\nc,\"{}\"\nd,e\n", "x\n".repeat(MAX_ROW / 2 + 1));
    let expected =
        ":2: expected a row of at most 16 MiB, found a longer one: is a quote left open?";
    check_error("t.csv", long, &wanted, expected);
}

const MAX_ROW: usize = crate::data::corpus::MAX_LINE_BYTES;

#[test]
fn objects_have_fields_by_name() {
    let wanted = house(false, true);
    let lines = concat!(
        "\u{feff}{\"text\": \" caf\\u00e9\\n\", \"label\": \"a\", \"id\": 7}\r\n",
        "\n",
        "{\"sentence\": \"b\", \"label\": 3}\n",
        "{\"label\": -0.5, \"text\": \"c\", \"sentence\": \"d\"}\n",
        "{\"label\": true, \"text\": null, \"premise\": \"e\"}",
    );
    let rows =
        ["1: café | - | a | ", "3: b | - | 3 | ", "4: c | - | -0.5 | ", "5: e | - | true | "];
    check("t.jsonl", lines, &wanted, &rows);
    let pair = r#"{"premise": "A.", "hypothesis": "B.", "gold": "x", "1": "y"}"#;
    check("t.jsonl", pair, &house(true, false), &["1: A. | B. | - | "]);
    check("t.jsonl", pair, &choose("hypothesis", "1", "gold"), &["1: B. | y | x | "]);
    let null = r#"{"text": "A.", "label": null}"#;
    check("t.jsonl", null, &house(false, false), &["1: A. | - | - | "]);
    check_error("t.jsonl", null, &wanted, ":1: expected a field \"label\", found \"text\"");
    check_error(
        "t.jsonl",
        r#"{"text": "A.", "label": "b"}"#,
        &Wanted { label: false, ..choose("", "", "gold") },
        ":1: expected a field \"gold\", found \"text\", \"label\"",
    );
}

#[test]
fn lines_that_are_not_such_objects_are_errors() {
    let wanted = house(false, true);
    let good = "{\"text\":\"a\",\"label\":\"b\"}\n";
    for (line, expected) in [
        ("[1]", "a JSON object a line, found an array"),
        ("\"text\"", "a JSON object a line, found a string"),
        ("{\"text\":\"a\"", "a JSON object a line, found EOF while parsing an object at column 11"),
        ("{\"text\":\"a\"} x", "a JSON object a line, found trailing characters at column 14"),
        ("{}", "a field \"text\" or \"sentence\" or \"sentence1\" or \"premise\", found none"),
        ("{\"text\":7,\"label\":\"b\"}", "a string in \"text\", found a number"),
        ("{\"text\":[\"a\"],\"label\":\"b\"}", "a string in \"text\", found an array"),
        ("{\"text\":\"a\"}", "a field \"label\", found \"text\""),
        ("{\"text\":\"a\",\"label\":{}}", "a string or number in \"label\", found an object"),
        ("{\"text\":\"a\",\"label\":[\"b\"]}", "a string or number in \"label\", found an array"),
    ] {
        let expected = format!(":2: expected {expected}");
        check_error("t.jsonl", format!("{good}{line}\n"), &wanted, &expected);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read_bytes("t.jsonl", deep, &wanted).is_err());
}

#[test]
fn an_example_may_have_many_labels() {
    let wanted = many(house(false, true));
    let rows = ["1: t | - | - | a+b c", "2: u | - | - | ", "3: v | - | - | a"];
    check("t.tsv", "a| b c |a\tt\n\tu\na\tv\n", &wanted, &rows);
    check("t.csv", "a|b c,t\n,u\n\"a\",v\n", &wanted, &rows);
    let lines = r#"{"text":"t","labels":["a","b c"]}
                   {"text":"u","labels":[]}
                   {"text":"v","label":"a"}
                   {"text":"w","label":"1|2","labels":null}
                   {"text":"x","labels":[1,"2",1]}
                   {"text":"y","label":4}"#;
    let rows: Vec<String> = rows
        .iter()
        .map(|row| (*row).to_owned())
        .chain(["4: w | - | - | 1+2", "5: x | - | - | 1+2", "6: y | - | - | 4"].map(String::from))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    check("t.jsonl", lines, &wanted, &rows);
    for field in ["a||b", "|", "a|"] {
        let expected = ":1: expected labels separated by | in column 1, found an empty one";
        check_error("t.tsv", format!("{field}\tt\n"), &wanted, expected);
        let line = format!("{{\"text\":\"t\",\"labels\":\"{field}\"}}");
        let expected = ":1: expected labels in \"labels\", found an empty one";
        check_error("t.jsonl", line, &wanted, expected);
    }
    let expected = ":1: expected a string or number in \"labels\", found null";
    check_error("t.jsonl", r#"{"text":"t","labels":[null]}"#, &wanted, expected);
    let expected = ":1: expected a field \"label\" or \"labels\", found \"text\"";
    check_error("t.jsonl", r#"{"text":"t"}"#, &wanted, expected);
}

#[test]
fn what_is_not_utf_8_is_named_with_line_and_byte() {
    let wanted = house(false, true);
    for name in ["t.tsv", "t.csv", "t.jsonl"] {
        let good = if name == "t.jsonl" { "{\"text\":\"a\",\"label\":\"b\"}\n" } else { "" };
        let bytes = [good.as_bytes(), b"\n\"b\xff"].concat();
        let line = 2 + u64::from(!good.is_empty());
        let expected = format!(":{line}: expected UTF-8, found byte 0xff at column 3");
        check_error(name, bytes, &wanted, &expected);
    }
}

#[test]
fn compressed_tables_read_as_plain_ones() {
    let (table, wanted) = ("text,label\n\"a\nb\",c\n", choose("text", "", "label"));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(table.as_bytes()).unwrap();
    check("t.csv.gz", gz.finish().unwrap(), &wanted, &["2: a\nb | - | c | "]);
    check(
        "t.csv.zst",
        zstd::encode_all(table.as_bytes(), 1).unwrap(),
        &wanted,
        &["2: a\nb | - | c | "],
    );
}

#[test]
fn damaged_rows_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.tsv");
    let table = "question1\tquestion2\tis_duplicate\nA?\tB?\t1\nC\nD?\tE?\t0\nF?\t\t0\nG?\tH?\t1\n";
    std::fs::write(&path, table).unwrap();
    let wanted = choose("question1", "question2", "is_duplicate");
    let (rows, left_out) = read_damaged_table(&path, TableFormat::Tsv, &wanted).unwrap();
    assert_eq!(shown(&rows), ["2: A? | B? | 1 | ", "4: D? | E? | 0 | ", "6: G? | H? | 1 | "]);
    let left_out: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    assert_eq!(left_out.len(), 2);
    assert!(
        left_out[0].ends_with("train.tsv:3: expected 3 columns as in the header, found 1 column")
    );
    assert!(left_out[1].ends_with(":5: expected a second text in column 2, found an empty one"));
    // A wrong choice is no damage of a row.
    assert!(read_damaged_table(&path, TableFormat::Tsv, &choose("x", "", "y")).is_err());
}

#[test]
fn real_files_have_the_counts_of_their_descriptions() {
    for (name, pair, count, labels) in [
        ("banking77/train.tsv", false, 10_003, 77),
        ("banking77/test.tsv", false, 3_080, 77),
        ("snli/dev.tsv", true, 9_842, 3),
        ("snli/test.tsv", true, 9_824, 3),
    ] {
        let Some(path) = data_file(name) else { return };
        let rows = read_table(&path, TableFormat::of(&path), &house(pair, true)).unwrap();
        let known: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.label).collect();
        assert_eq!((rows.len(), known.len()), (count, labels), "{name}");
        assert!(rows.iter().all(|row| row.second.is_some() == pair));
        // The same rows as CSV and as JSON lines.
        let mut csv = csv::Writer::from_writer(Vec::new());
        let mut json = String::new();
        for row in &rows {
            let cells = [row.label.as_deref(), Some(&row.text), row.second.as_deref()];
            csv.write_record(cells.into_iter().flatten()).unwrap();
            let object = serde_json::json!({
                "label": row.label, "sentence1": row.text, "sentence2": row.second,
            });
            json.push_str(&format!("{object}\n"));
        }
        let csv = read_bytes("t.csv", csv.into_inner().unwrap(), &house(pair, true)).unwrap();
        assert_eq!(csv, rows, "{name}");
        assert_eq!(read_bytes("t.jsonl", json, &house(pair, true)).unwrap(), rows, "{name}");
    }
}
