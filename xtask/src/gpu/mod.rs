//! Measuring on a GPU that is not here: the archive that is taken there, the page of what it brings back,
//! and what is expected of it.

pub mod pack;
pub mod predict;
pub mod report;
