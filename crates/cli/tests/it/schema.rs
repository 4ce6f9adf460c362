// SPDX-License-Identifier: MIT OR Apache-2.0
//! From an example to a schema, and a second look at schemas.

use crate::shop::{Shop, order};

#[test]
fn an_example_becomes_the_next_version() {
    let shop = Shop::new();
    let made = shop.fed(&["schema", "new", "orders.created"], &order("o_1", 5)).ok();
    assert!(made.contains("orders.created/2.json"), "{made}");
    shop.run(&["schema", "lint"]).ok();
    shop.publish(1);
    assert_eq!(shop.consume().json()[0]["version"], 2);
    let again = ["schema", "new", "orders.created", "--version", "2"];
    shop.fed(&again, &order("o_1", 5)).failed(64, "is there already");
    let printed = shop.fed(&["schema", "new"], &order("o_1", 5)).ok();
    assert!(!printed.contains("o_1"), "no value of the example is in it: {printed}");
}

#[test]
fn what_is_no_example_is_refused() {
    let shop = Shop::new();
    shop.fed(&["schema", "new"], "[1]").failed(64, "is not a JSON object");
    shop.fed(&["schema", "new"], "nonsense").failed(64, "standard input");
    shop.fed(&["schema", "new", "../../x"], "{}").failed(64, "is no event type");
}

#[test]
fn lint_says_where_and_what_to_write() {
    let shop = Shop::new();
    shop.write("schemas/orders.created/2.json", "{\"type\": \"object\"}");
    let ended = shop.run(&["schema", "lint"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("schemas/orders.created/2.json"), "{}", ended.out);
    assert!(ended.out.contains("fix: "), "{}", ended.out);
}
