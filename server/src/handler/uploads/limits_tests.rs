//! How much may be uploaded, and how many uploads may be begun.

use super::super::testing::field;
use super::tests::{append, append_with, ask, begin, handler, hidden, offset, tree};
use super::*;
use std::fs::File;
use std::time::SystemTime;

#[test]
fn what_is_too_long_for_the_server_is_refused_with_the_limit() {
    let (_tree, root, _) = tree();
    let limits = UploadLimits { max_size: 4, ..UploadLimits::default() };
    let handler = handler(&root).upload_limits(limits);
    let lines = "Upload-Complete: ?0\nUpload-Length: 5";
    let response = ask(&handler, "PUT", "/a", lines, "");
    assert_eq!(response.status(), 413);
    assert_eq!(field(&response, "upload-limit"), "max-size=4, max-age=86400");
    let response = ask(&handler, "PUT", "/a", "Upload-Complete: ?0", "abc");
    let url = field(&response, "location").to_owned();
    assert_eq!(append(&handler, &url, 3, true, "de").status(), 413);
    assert_eq!(append(&handler, &url, 3, true, "d").status(), 201);
}

#[test]
fn quotas_bound_number_and_space() {
    let (_tree, root, _) = tree();
    let limits = UploadLimits { max_uploads: 2, max_space: 10, ..UploadLimits::default() };
    let handler = handler(&root).upload_limits(limits);
    let create =
        |lines: &str| ask(&handler, "PUT", "/a", &format!("Upload-Complete: ?0\n{lines}"), "");
    assert_eq!(create("Upload-Length: 11").status(), 507);
    let first = field(&create("Upload-Length: 6"), "location").to_owned();
    assert_eq!(create("Upload-Length: 5").status(), 507);
    let second = field(&create(""), "location").to_owned();
    let response = create("");
    assert_eq!((response.status().as_u16(), field(&response, "retry-after")), (503, "60"));
    // What has no length counts as it comes.
    assert_eq!(append(&handler, &second, 0, false, "abc").status(), 204);
    assert_eq!(append(&handler, &second, 3, false, "de").status(), 507);
    assert_eq!(offset(&handler, &second), (3, false));
    // So does what is declared late: it is reserved at once.
    assert_eq!(append_with(&handler, &second, 3, false, "Upload-Length: 5", "").status(), 507);
    let tus =
        "Tus-Resumable: 1.0.0\nContent-Type: application/offset+octet-stream\nUpload-Offset: 3";
    let response = ask(&handler, "PATCH", &second, &format!("{tus}\nUpload-Length: 5"), "");
    assert_eq!(response.status(), 507);
    assert_eq!(offset(&handler, &second), (3, false));
    // A complete one counts no longer, nor does one that is cancelled.
    assert_eq!(append(&handler, &first, 0, true, "abcdef").status(), 201);
    assert_eq!(append(&handler, &second, 3, false, "defghij").status(), 204);
    assert_eq!(ask(&handler, "DELETE", &second, "", "").status(), 204);
    assert_eq!(create("Upload-Length: 10").status(), 201);
}

#[test]
fn a_length_that_is_told_late_counts_before_anything_is_reserved_for_it() {
    let (_tree, root, _) = tree();
    let limits = UploadLimits { max_space: 10, ..UploadLimits::default() };
    let handler = handler(&root).upload_limits(limits);
    let url = begin(&handler, "/a", "");
    let late = |length: u64| {
        let lines = format!("Upload-Length: {length}");
        append_with(&handler, &url, 0, false, &lines, "").status().as_u16()
    };
    assert_eq!(late(11), 507);
    assert_eq!(offset(&handler, &url), (0, false));
    assert_eq!(late(10), 204);
    let other = ask(&handler, "PUT", "/b", "Upload-Complete: ?0\nUpload-Length: 1", "");
    assert_eq!(other.status(), 507);
}

#[test]
fn what_has_expired_keeps_nobody_out() {
    let (_tree, root, _) = tree();
    let hour = Duration::from_secs(3600);
    let limits = UploadLimits { max_uploads: 1, expiry: hour, ..UploadLimits::default() };
    // Nothing sweeps by itself here.
    let handler = handler(&root).upload_limits(limits);
    let create = |name: &str| ask(&handler, "PUT", name, "Upload-Complete: ?0", "");
    assert_eq!(create("/a").status(), 201);
    assert_eq!(create("/b").status(), 503);
    for name in hidden(&root) {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(SystemTime::now() - hour * 2).unwrap();
    }
    // Not more than once a second is looked for such.
    let until = Instant::now() + Duration::from_secs(30);
    while create("/b").status() != 201 {
        assert!(Instant::now() < until, "what has expired keeps others out");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(create("/c").status(), 503);
}
