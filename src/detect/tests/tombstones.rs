//! Which items a response says were deleted.

use super::super::{Filter, Rules};
use super::{items, walk};

#[test]
fn a_tombstone_marks_its_item_and_leaves_its_digest() {
    let rules = items("$.data[*]", &["$.id"]);
    let burying = Rules {
        tombstone: Some(Filter::parse("$[?@.deleted == true]").unwrap()),
        ..rules.clone()
    };
    let text = r#" {"data":[{"id":2,"deleted":true}, {"id":1,"deleted":false}, {"id":3}]}"#;
    let (plain, buried) = (walk(text, &rules).unwrap(), walk(text, &burying).unwrap());
    let gone: Vec<bool> = buried.entries.iter().map(|entry| entry.is_gone).collect();
    assert_eq!(gone, [false, true, false]);
    assert!(plain.entries.iter().all(|entry| !entry.is_gone));
    let digests = |walk: &super::Walk| walk.entries.iter().map(|e| e.digest).collect::<Vec<_>>();
    assert_eq!(digests(&plain), digests(&buried));
    assert_ne!(plain.digest, buried.digest);
    assert_ne!(rules.digest(), burying.digest());
}

#[test]
fn a_tombstone_is_asked_of_items_that_are_no_objects_too() {
    let burying = Rules {
        tombstone: Some(Filter::parse("$[?@ == 'b']").unwrap()),
        ..items("$[*]", &["$"])
    };
    let walk = walk(r#"["a","b"]"#, &burying).unwrap();
    let gone: Vec<bool> = walk.entries.iter().map(|entry| entry.is_gone).collect();
    assert_eq!(gone, [false, true]);
}
