//! The desired-state document as an operator meets it.
use hubward::desired::DesiredState;

#[test]
fn all_mistakes_are_told_at_once() {
    let text = include_str!("../fixtures/profiles/many-mistakes.yaml");
    let mistakes = DesiredState::parse(text).unwrap_err();
    insta::assert_snapshot!(mistakes, @"");
}
