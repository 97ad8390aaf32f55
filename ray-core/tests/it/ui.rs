//! What the compiler says to users of `#[remote]`: each misuse stands on the user's token and says what to do.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the process that runs the cases.
const CASES: &str = "RAY_TEST_UI_CASES";

#[test]
fn misuse_is_answered_on_the_users_token() {
    if std::env::var_os(CASES).is_some() {
        let cases = trybuild::TestCases::new();
        cases.compile_fail("tests/ui/fail/*.rs");
        cases.pass("tests/ui/pass/*.rs");
        return;
    }
    // By the path of a test binary its features are found, and all that they need would be compiled once more. Without, the
    // cases are built as users build by default.
    let cases = Command::new(std::env::current_exe().unwrap())
        .arg0("built-as-by-default")
        .args(["ui::misuse_is_answered_on_the_users_token", "--exact", "--nocapture"])
        .env(CASES, "1")
        .output()
        .unwrap();
    let text = [cases.stdout, cases.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(cases.status.success() && text.contains("1 passed"), "{text}");
}
