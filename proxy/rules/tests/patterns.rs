//! The table that `gossamer apply` is tested by too: what it takes must compile here.

use rules::pattern::Pattern;

#[test]
fn the_table_of_patterns_holds() {
    let table = include_str!("../../../golden/patterns.txt");
    let mut seen = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (sign, text) = line.split_at(2);
        assert_eq!(Pattern::compile(text).is_ok(), sign != "- ", "{line}");
        seen += 1;
    }
    assert!(seen > 50);
}
