//! What the compiler says to users of `#[remote]`: each misuse stands on the user's token and says what to do.

#[test]
fn misuse_is_answered_on_the_users_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
