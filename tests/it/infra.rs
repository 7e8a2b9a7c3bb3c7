//! What infra/ deploys is what the code, host.json, the functions and the samples name. There is no Bicep compiler
//! here: the templates are read as text, for the names that have to agree.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use hubward::{
    bus::{REQUEST_QUEUE, WORK_QUEUE},
    config::AzureSettings,
    functions,
    model::role::Role,
    outcomes,
    rights::BuiltIn,
};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// Every quoted text of a template.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(quoted_of_line).collect()
}

fn quoted_of_line(line: &str) -> impl Iterator<Item = &str> {
    line.split('\'').skip(1).step_by(2)
}

/// The names on the left of `name: value`, between a line that begins with `from` and the next `}`.
fn members<'a>(text: &'a str, from: &str) -> BTreeSet<&'a str> {
    let lines = text.lines().skip_while(|line| !line.starts_with(from)).skip(1);
    lines
        .take_while(|line| !line.starts_with('}'))
        .filter_map(|line| line.trim().split_once(':').map(|(name, _)| name))
        .collect()
}

#[test]
fn every_queue_that_a_function_is_bound_to_is_deployed() {
    let (storage, bus) = (read("infra/app/storage.bicep"), read("infra/app/bus.bicep"));
    let (of_storage, of_bus) = (quoted(&storage), quoted(&bus));
    for name in functions::NAMES {
        let bindings = json(&format!("functions/{name}/function.json"))["bindings"].clone();
        for binding in bindings.as_array().unwrap() {
            let Some(queue) = binding["queueName"].as_str() else { continue };
            let deployed = match binding["connection"].as_str().unwrap() {
                "AzureWebJobsStorage" => &of_storage,
                "HubwardBus" => &of_bus,
                other => panic!("{name}: nothing is deployed for the connection {other}"),
            };
            assert!(deployed.contains(queue), "{name}: the queue {queue} is not deployed");
        }
    }
    for queue in [outcomes::QUEUE, outcomes::FAILED_QUEUE] {
        assert!(of_storage.contains(queue), "{queue} is not deployed");
    }
    for queue in [WORK_QUEUE, REQUEST_QUEUE] {
        assert!(of_bus.contains(queue), "{queue} is not deployed");
    }
}

#[test]
fn the_work_queue_is_as_the_code_relies_on() {
    let bus = read("infra/app/bus.bicep");
    let work = bus.split("\nresource ").find(|part| part.contains("name: 'hub-work'")).unwrap();
    assert!(work.contains("requiresSession: true"), "one hub, one worker");
    assert!(work.contains("requiresDuplicateDetection: true"));
    let remembered = hubward::work::REMEMBERED.as_secs();
    assert_eq!(remembered, 24 * 60 * 60);
    assert!(work.contains("duplicateDetectionHistoryTimeWindow: 'P1D'"));
}

#[test]
fn events_come_to_a_function_that_takes_them_and_are_filtered_at_the_source() {
    let events = read("infra/hubs/events.bicep");
    let (_, rest) = events.split_once("/functions/").unwrap();
    let function = rest.split('\'').next().unwrap();
    let bindings = json(&format!("functions/{function}/function.json"))["bindings"].clone();
    assert_eq!(bindings[0]["type"], "eventGridTrigger");
    let known = quoted(&events);
    assert!(known.contains("data.operationName"));
    for operation in ["Microsoft.Devices/IotHubs/write", "Microsoft.Devices/IotHubs/delete"] {
        assert!(known.contains(operation), "{operation} is filtered out");
    }
    let dead = events.lines().find(|line| line.contains("blobContainerName")).unwrap();
    let container = quoted_of_line(dead).next().unwrap();
    assert!(quoted(&read("infra/app/storage.bicep")).contains(container), "{container} is not deployed");
}

#[test]
fn every_setting_of_the_app_is_known_to_the_readme_and_the_sample() {
    let function = read("infra/app/function.bicep");
    let settings = members(&function, "var settings");
    assert!(settings.len() > 10, "{settings:?}");
    let readme = read("README.md");
    let sample = json("local.settings.sample.json");
    let of_platform =
        |name: &str| name.starts_with("AzureWebJobsStorage__") || name.starts_with("APPLICATIONINSIGHTS_");
    for name in settings.iter().filter(|name| !of_platform(name)) {
        // Members of a connection are the host's: the connection itself has to be the functions'.
        let (connection, is_member) = match name.split_once("__") {
            Some((connection, member)) => (connection, member != "fullyQualifiedNamespace"),
            None => (*name, false),
        };
        if is_member {
            assert_eq!(connection, "HubwardBus", "{name}");
            continue;
        }
        assert!(readme.contains(*name), "README does not explain {name}");
    }
    for name in sample["Values"].as_object().unwrap().keys().filter(|name| name.starts_with("HUBWARD_")) {
        // Empty in the sample, or with a default: what is not set in Azure has to be optional.
        let value = sample["Values"][name].as_str().unwrap();
        assert!(
            settings.contains(name.as_str())
                || value.is_empty()
                || ["HUBWARD_CHECK_RIGHTS", "HUBWARD_RESYNC"].contains(&name.as_str()),
            "{name} is set in the sample and not in infra/"
        );
    }
    for cloud in quoted(&function).iter().filter(|text| ["public", "usgov", "china"].contains(*text)) {
        let environment = HashMap::from([("HUBWARD_CLOUD", *cloud), ("HUBWARD_PROFILES", "profiles.yaml")]);
        AzureSettings::read(&environment).unwrap();
    }
}

#[test]
fn what_the_app_may_grant_is_what_the_code_grants() {
    let condition = read("infra/targets/condition.txt");
    assert_eq!(Some(condition), BuiltIn::RbacAdministrator.condition());
    let group = read("infra/targets/group.bicep");
    let known = quoted(&group);
    assert!(
        known.contains(BuiltIn::RbacAdministrator.guid()) && known.contains(Role::BlobDataContributor.guid())
    );
    assert!(group.contains("loadTextContent('condition.txt')") && group.contains("conditionVersion: '2.0'"));
    // No template names a role that is more: Owner, Contributor, User Access Administrator.
    for path in templates() {
        for role in [
            "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
            "b24988ac-6180-42a0-ab88-20f7382dd24c",
            "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        ] {
            assert!(!read(&path).contains(role), "{path} assigns {role}");
        }
    }
}

fn templates() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["infra", "infra/app", "infra/hubs", "infra/targets"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".bicep") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

/// Parameters that a template declares, with whether they have to be given.
fn parameters(text: &str) -> Vec<(&str, bool)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("param "));
    lines.map(|line| (line.split(' ').next().unwrap(), !line.contains(" = "))).collect()
}

#[test]
fn modules_are_given_every_parameter_that_they_need_and_no_other() {
    let mut modules = 0;
    for path in templates() {
        let text = read(&path);
        let folder = Path::new(&path).parent().unwrap().to_owned();
        for part in text.split("\nmodule ").skip(1) {
            modules += 1;
            let file = folder.join(part.split('\'').nth(1).unwrap());
            let module = read(file.to_str().unwrap());
            let (_, given) = part.split_once("params: {").unwrap();
            let (given, _) = given.split_once("\n  }").unwrap();
            let given: BTreeSet<&str> =
                given.lines().filter_map(|line| line.trim().split_once(':').map(|(name, _)| name)).collect();
            for (name, required) in parameters(&module) {
                assert!(!required || given.contains(name), "{path}: {} needs {name}", file.display());
            }
            for name in given {
                let known = parameters(&module).iter().any(|(known, _)| *known == name);
                assert!(known, "{path}: {} has no parameter {name}", file.display());
            }
        }
        // What a template takes from a module has to be put out by it.
        for (at, _) in text.match_indices(".outputs.") {
            let symbol = text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap();
            let output = text[at + 9..].split(|c: char| !c.is_alphanumeric()).next().unwrap();
            let declared =
                text.split("\nmodule ").find(|part| part.starts_with(&format!("{symbol} '"))).unwrap();
            let module = read(folder.join(declared.split('\'').nth(1).unwrap()).to_str().unwrap());
            assert!(
                module.contains(&format!("\noutput {output} ")),
                "{path}: {symbol} has no output {output}"
            );
        }
    }
    assert!(modules > 8);
}

#[test]
fn parameters_of_the_deployment_are_all_filled_in_and_documented() {
    let main = read("infra/main.bicep");
    let declared: BTreeSet<&str> = parameters(&main).into_iter().map(|(name, _)| name).collect();
    let file = json("infra/main.parameters.json");
    let given: BTreeSet<&str> = file["parameters"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(declared, given);
    let readme = read("infra/README.md");
    for (name, value) in file["parameters"].as_object().unwrap() {
        let variable = value["value"].as_str().unwrap().trim_start_matches("${");
        let variable = variable.split(['=', '}']).next().unwrap();
        assert!(readme.contains(variable), "infra/README.md does not explain {variable} ({name})");
    }
    // What the hooks read is put out.
    for hook in ["infra/hooks/events.sh", "infra/hooks/profiles.sh"] {
        for needed in read(hook).lines().filter_map(|line| line.strip_prefix(": \"${")) {
            let name = needed.split(':').next().unwrap();
            assert!(main.contains(&format!("output {name} ")), "{hook} needs {name}");
        }
    }
}
