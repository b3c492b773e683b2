//! Measuring on a GPU that is not here: the archive that is taken there, and the page of what it brings
//! back.

pub mod pack;
pub mod report;
