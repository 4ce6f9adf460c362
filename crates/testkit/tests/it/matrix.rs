// SPDX-License-Identifier: MIT OR Apache-2.0
//! The feature matrix in the documents is the one that the suite judges by.

use chancery_testkit::conformance::matrix::{ALL, matrix};

use crate::tidy::{read, root};

// A table kept by hand would promise what no test has asked for.
#[test]
fn the_documented_matrix_is_the_suites() {
    let document = read(&root().join("docs/brokers.md"));
    let matrix = matrix();
    assert!(
        document.contains(&matrix),
        "docs/brokers.md: put in what `cargo run -p chancery-testkit --example features` prints:\n\
         {matrix}"
    );
}

#[test]
fn every_broker_says_which_servers_were_tried() {
    for tried in ALL {
        assert!(!tried.servers.is_empty(), "{}", tried.broker);
        assert!(tried.servers.iter().all(|name| name.len() > 2), "{}", tried.broker);
    }
}
