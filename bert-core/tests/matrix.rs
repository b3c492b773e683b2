//! The matrix of operations and instruction sets in the README is what the code says.
#![cfg(feature = "std")]
#![allow(missing_docs)]

use bert_core::arch::{self, COMPILED, ISAS};

const README: &str = include_str!("../README.md");

/// A row for each instruction set. Operations that are made alike everywhere share a column.
fn matrix() -> String {
    let ways: Vec<Vec<_>> = ISAS.iter().map(|isa| isa.ways().collect()).collect();
    let column = |i: usize| ways.iter().map(|ways| ways[i].1).collect::<Vec<_>>();
    let mut columns: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (i, (operation, _)) in ways[0].iter().enumerate() {
        match columns.iter_mut().find(|(ways, _)| *ways == column(i)) {
            Some((_, operations)) => operations.push(format!("`{operation}`")),
            None => columns.push((column(i), vec![format!("`{operation}`")])),
        }
    }
    let header: Vec<_> = columns.iter().map(|(_, operations)| operations.join(", ")).collect();
    let mut text = format!("| name | machines | {} |\n", header.join(" | "));
    text += &format!("|{}\n", "---|".repeat(2 + columns.len()));
    for (row, isa) in ISAS.iter().enumerate() {
        let ways = columns.iter().map(|(ways, _)| match ways[row] {
            COMPILED => COMPILED.to_string(),
            instructions => format!("`{}`", instructions.replace(", ", "` `")),
        });
        let ways: Vec<_> = ways.collect();
        text += &format!("| `{}` | {} | {} |\n", isa.name, isa.machines, ways.join(" | "));
    }
    text
}

#[test]
fn readme_has_the_matrix_of_the_code() {
    let (_, rest) = README.split_once("<!-- matrix").expect("a place for the matrix");
    let (_, rest) = rest.split_once("-->\n").expect("a comment that ends");
    let (found, _) = rest.split_once("<!-- end of matrix -->").expect("an end of the matrix");
    let expected = matrix();
    assert_eq!(found, expected, "README.md needs this between its marks:\n{expected}");
}

#[test]
fn every_table_of_this_machine_is_one_of_the_matrix() {
    let place = |name| ISAS.iter().position(|isa| isa.name == name);
    let places: Vec<_> = arch::available().map(|kernels| place(kernels.name())).collect();
    assert!(places.iter().all(Option::is_some), "{places:?}");
    // The more capable after the less capable, and no name twice.
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    for (i, isa) in ISAS.iter().enumerate() {
        assert_eq!(place(isa.name), Some(i), "{}", isa.name);
    }
    for kernels in arch::available() {
        assert_eq!(kernels.isa().ways().count(), arch::Kernels::OPERATIONS.len());
    }
}
