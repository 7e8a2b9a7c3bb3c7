use super::*;

const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";

fn parse(text: &str) -> Result<Template, String> {
    Template::parse(TargetKind::EventHub, text)
        .map_err(|fault| format!("{}; fix: {}", fault.message, fault.fix))
}

fn event_hub(group: &str, namespace: &str, name: &str) -> String {
    format!(
        "{SUB}/resourceGroups/{group}/providers/Microsoft.EventHub/namespaces/{namespace}/eventhubs/{name}"
    )
}

fn values() -> Values<'static> {
    Values {
        hub: "Hub-1",
        location: "westus2",
        resource_group: "rg-iot",
        subscription: "0b1f6471-1bf0-4dda-aec3-cb9272f09590",
    }
}

#[test]
fn placeholders_are_filled_in() {
    let text = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}-data/providers/Microsoft.EventHub/namespaces/ns-{location}/eventhubs/{hub}-{location}";
    let id = parse(text).unwrap().fill(&values()).unwrap();
    assert_eq!(id.as_str(), event_hub("rg-iot-data", "ns-westus2", "Hub-1-westus2"));
}

#[test]
fn every_kind_has_its_field_in_an_endpoint() {
    let schema = super::super::json_schema();
    let endpoint = &schema["properties"]["profiles"]["items"]["properties"]["endpoints"]["items"];
    for kind in TargetKind::ALL {
        assert!(endpoint["properties"][kind.field()].is_object(), "{kind:?}");
    }
}

#[test]
fn misplaced_and_unknown_placeholders_are_refused() {
    for (text, part) in [
        (event_hub("g", "n", "{locaton}"), "fix: write `{location}`"),
        (event_hub("g", "n", "{colour}"), "use one of `{hub}`"),
        (event_hub("g", "n", "{}"), "there is no placeholder `{}`"),
        (event_hub("g", "n", "{hub"), "no partner"),
        (event_hub("g", "n", "hub}"), "no partner"),
        (event_hub("g", "n", "{{hub}}"), "no partner"),
        (event_hub("g", "n", "{hub/x}"), "no partner"),
        (event_hub("g", "n", "x").replace("eventhubs", "{hub}"), "where a type belongs"),
        (event_hub("g", "n", "x").replace("Microsoft.EventHub", "{hub}"), "where a type belongs"),
        (event_hub("g", "n", "x").replace("/providers/", "/{hub}/"), "where a type belongs"),
        (event_hub("g", "n", "x").replace("/subscriptions", "/{subscription}"), "where a type belongs"),
        (
            event_hub("g", "n", "x").replace("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "{hub}"),
            "for a subscription",
        ),
        (format!("{{hub}}{}", event_hub("g", "n", "x")), "where a type belongs"),
    ] {
        let told = parse(&text).unwrap_err();
        assert!(told.contains(part), "{text}: {told}");
    }
}

#[test]
fn path_tricks_in_the_literal_parts_are_refused() {
    for name in [
        "..",
        ".",
        "a/b",
        "a%2fb",
        "a?x=1",
        "a#b",
        "a\\b",
        "tеlemetry",
        "a b",
        "",
        "a\n",
        "a(b)",
        "$a",
        "../x",
    ] {
        assert!(parse(&event_hub("g", "n", name)).is_err(), "{name:?}");
        assert!(parse(&event_hub("g", "n", &format!("{{hub}}/{name}"))).is_err(), "{name:?}");
    }
    for text in [
        "",
        "/",
        "telemetry",
        &event_hub("g", "n", "x/consumergroups/c"),
        &format!("{SUB}/resourceGroups/g/providers/Microsoft.EventHub/namespaces/n"),
        &format!("{SUB}/providers/Microsoft.EventHub/namespaces/n/eventhubs/x"),
        &format!("{}/providers/Microsoft.EventHub/namespaces/n/eventhubs/x", event_hub("g", "n", "x")),
        &event_hub("g", "n", &"x".repeat(3000)),
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_value_cannot_bring_a_path() {
    let template = parse(&event_hub("g", "n", "t-{location}-{hub}")).unwrap();
    for bad in ["", "a/b", "..", "a%2fb", "wеst", "a/providers/x", "a?b", "{hub}"] {
        assert!(template.fill(&Values { location: bad, ..values() }).is_err(), "{bad:?}");
        assert!(template.fill(&Values { hub: bad, ..values() }).is_err(), "{bad:?}");
    }
    let template = parse(&event_hub("g", "n", "t-{resourceGroup}")).unwrap();
    assert!(template.fill(&Values { resource_group: "rg.iot_1", ..values() }).is_ok());
    assert!(
        template.fill(&Values { resource_group: "rg(1)", ..values() }).is_err(),
        "no name of an event hub"
    );
}

#[test]
fn what_is_written_out_has_to_fit_the_guardrail() {
    let scope = |rest: &str| ResourceId::parse(&format!("{SUB}{rest}")).unwrap();
    let fits =
        |text: &str, rest: &str| parse(text).unwrap().could_be_within(&scope(rest), StorageScope::Container);
    let plain = event_hub("RG-data", "ns1", "t");
    assert!(fits(&plain, ""));
    assert!(fits(&plain, "/resourceGroups/rg-data"));
    assert!(!fits(&plain, "/resourceGroups/rg"));
    assert!(!fits(&plain, "/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns2"));

    let group = event_hub("rg-{location}-data", "ns1", "t");
    assert!(fits(&group, "/resourceGroups/rg-westus2-data"));
    assert!(!fits(&group, "/resourceGroups/rg-data"));
    assert!(!fits(&group, "/resourceGroups/rg-westus2"));

    let name = event_hub("rg", "ns1", "{hub}");
    assert!(fits(&name, "/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/hub1"));
}
