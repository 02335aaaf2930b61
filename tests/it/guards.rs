//! What the templates guard: the queues, the front door, and what the functions' code may do with what is not its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ops::layout;
use serde_yaml_ng::Value;

use harness::bootstrap::Function;

use crate::template::{of_type, queue_of, read, referred};

/// MiniStack's account, which nobody has on AWS. It has no TLS, and knows no encryption context in conditions.
const LOCAL_ACCOUNT: &str = "000000000000";

/// The queues of a `!GetAtt`, or a `!Ref`, each.
fn queues_of(values: &Value) -> BTreeSet<&str> {
    let names = values.as_sequence().into_iter().flatten();
    names.filter_map(|value| referred(value).or_else(|| queue_of(value))).collect()
}

#[test]
fn every_queue_denies_access_without_tls() -> Result<()> {
    let template = read("template.yaml")?;
    let queues: BTreeSet<&str> = of_type(&template, "AWS::SQS::Queue")?.into_iter().map(|(name, _)| name).collect();
    let policies = of_type(&template, "AWS::SQS::QueuePolicy")?;
    let [(_, policy)] = policies.as_slice() else { anyhow::bail!("there is one policy for all queues") };
    let statement = &policy["PolicyDocument"]["Statement"][0];
    assert_eq!(queues_of(&policy["Queues"]), queues);
    assert_eq!(queues_of(&statement["Resource"]), queues);
    assert_eq!((&statement["Effect"], &statement["Principal"]), (&"Deny".into(), &"*".into()));
    assert_eq!(statement["Condition"]["Bool"]["aws:SecureTransport"], "false");
    assert_eq!(statement["Condition"]["StringNotEquals"]["aws:ResourceAccount"], LOCAL_ACCOUNT);
    Ok(())
}

/// The default of the template is the processor for which the functions are built by default.
#[test]
fn functions_are_built_for_default_architecture_of_templates() -> Result<()> {
    let template = read("template.yaml")?;
    assert_eq!(template["Parameters"]["Architecture"]["Default"], "x86_64");
    let globals = &template["Globals"]["Function"]["Architectures"];
    let connect = read("connect.yaml")?;
    let of_connect = &of_type(&connect, "AWS::Lambda::Function")?[0].1["Architectures"];
    for architectures in [globals, of_connect] {
        assert_eq!(referred(&architectures[0]), Some("Architecture"));
    }
    for function in [Function::Scheduler, Function::Sync, Function::Actions, Function::Connect] {
        let bootstrap = std::fs::read(function.bootstrap())?;
        // The ELF header: its magic number, and e_machine, which is 62 for x86-64 (elf(5)).
        assert_eq!((&bootstrap[..4], &bootstrap[18..20]), (b"\x7fELF".as_slice(), &[62, 0][..]), "{function:?}");
    }
    Ok(())
}

/// Who floods one of them shuts nobody out of the others.
#[test]
fn webhook_callback_and_sign_in_routes_have_their_own_throttles() -> Result<()> {
    let connect = read("connect.yaml")?;
    let routes: BTreeSet<&str> = of_type(&connect, "AWS::ApiGatewayV2::Route")?
        .into_iter()
        .filter_map(|(_, route)| route["RouteKey"].as_str())
        .collect();
    let own = ["GET /hubspot/callback", "POST /hubspot/webhooks", "POST /sign-in"];
    assert_eq!(routes.into_iter().collect::<Vec<_>>(), [&["$default"], &own[..]].concat());
    let stage = of_type(&connect, "AWS::ApiGatewayV2::Stage")?[0].1;
    assert_eq!(referred(&stage["DefaultRouteSettings"]["ThrottlingRateLimit"]), Some("RequestsPerSecond"));
    for key in own {
        // A number: CloudFormation does not make one of a parameter here.
        let settings = &stage["RouteSettings"][key];
        assert!(settings["ThrottlingRateLimit"].is_u64() && settings["ThrottlingBurstLimit"].is_u64(), "{key}");
    }
    let function = of_type(&connect, "AWS::Lambda::Function")?[0].1;
    assert!(!function["ReservedConcurrentExecutions"].is_null());
    Ok(())
}

#[test]
fn connect_access_log_has_no_query_and_follows_log_retention() -> Result<()> {
    let connect = read("connect.yaml")?;
    let log = &of_type(&connect, "AWS::ApiGatewayV2::Stage")?[0].1["AccessLogSettings"];
    let format = log["Format"].as_str().context("a format")?;
    let line: serde_json::Value = serde_json::from_str(format)?;
    for (name, value) in [("source.ip", "$context.identity.sourceIp"), ("status", "$context.status")] {
        assert_eq!(line[name], value);
    }
    assert!(!format.to_lowercase().contains("query") && !format.contains("authorizer"), "{format}");
    let groups = of_type(&connect, "AWS::Logs::LogGroup")?;
    assert_eq!(groups.len(), 2);
    for (name, group) in groups {
        assert_eq!(referred(&group["RetentionInDays"]), Some("LogRetentionDays"), "{name}");
    }
    Ok(())
}

/// A tagged value such as `!If [Condition, ...]`: its condition and its branches.
fn chosen(value: &Value) -> Option<(&str, &Value, &Value)> {
    let Value::Tagged(tagged) = value else { return None };
    (tagged.tag == "If").then_some((tagged.value[0].as_str()?, &tagged.value[1], &tagged.value[2]))
}

#[test]
fn custom_domain_closes_default_api_gateway_endpoint() -> Result<()> {
    let connect = read("connect.yaml")?;
    let api = of_type(&connect, "AWS::ApiGatewayV2::Api")?[0].1;
    let (condition, closed, open) = chosen(&api["DisableExecuteApiEndpoint"]).context("a condition")?;
    assert_eq!((condition, closed.as_bool(), open.as_bool()), ("IsEndpointClosed", Some(true), Some(false)));
    Ok(())
}

/// The statements of the roles' policies, by their names, with the condition under which each is there.
fn statements(template: &Value) -> Result<Vec<(String, &Value)>> {
    let mut found = Vec::new();
    for (role, properties) in of_type(template, "AWS::IAM::Role")? {
        for policy in properties["Policies"].as_sequence().into_iter().flatten() {
            for statement in policy["PolicyDocument"]["Statement"].as_sequence().context("statements")? {
                let (name, statement) = match chosen(statement) {
                    Some((condition, statement, _)) => (format!("{role} {condition}"), statement),
                    None => (role.to_owned(), statement),
                };
                found.push((name, statement));
            }
        }
    }
    Ok(found)
}

#[test]
fn function_code_in_vpc_is_denied_network_interfaces() -> Result<()> {
    let mut denied = Vec::new();
    for template in [read("template.yaml")?, read("connect.yaml")?] {
        for (role, statement) in statements(&template)?.into_iter().filter(|(_, found)| found["Sid"] == "NoInterfaces")
        {
            let is_of_code = &statement["Condition"]["ArnLike"]["lambda:SourceFunctionArn"];
            assert!(matches!(is_of_code, Value::Tagged(_)), "{role}: {statement:?}");
            assert_eq!(statement["Effect"], "Deny", "{role}");
            assert_eq!(statement["Action"][0], "ec2:*NetworkInterface*", "{role}");
            denied.push(role);
        }
    }
    assert_eq!(denied, ["SchedulerRole", "SyncRole", "ActionsRole", "ConnectRole"].map(|role| format!("{role} InVpc")));
    Ok(())
}

/// Decrypting with the key of tokens what is no data key of tokens is refused, by IAM and by the key itself.
#[test]
fn token_key_policy_denies_all_but_data_keys_of_tokens() -> Result<()> {
    let vault = std::fs::read_to_string(layout::root().join("common/token-vault/src/lib.rs"))?;
    assert!(vault.contains("(\"purpose\", \"hubspot-tokens\".to_owned())"), "the encryption context");
    let (template, connect) = (read("template.yaml")?, read("connect.yaml")?);
    let key = &of_type(&template, "AWS::KMS::Key")?[0].1["KeyPolicy"]["Statement"];
    let of_key = key.as_sequence().into_iter().flatten().map(|statement| ("the key".to_owned(), statement));
    let of_roles = [statements(&template)?, statements(&connect)?].concat();
    let all: Vec<_> = of_key.chain(of_roles).filter(|(_, statement)| statement["Sid"] == "DataKeysAlone").collect();
    for (whose, statement) in &all {
        assert_eq!(statement["Effect"], "Deny", "{whose}");
        // A request without a context has no purpose, and is another one, too.
        let unless = &statement["Condition"]["StringNotEquals"];
        assert_eq!(unless["kms:EncryptionContext:purpose"], "hubspot-tokens", "{whose}");
        assert_eq!(unless["aws:ResourceAccount"], LOCAL_ACCOUNT, "{whose}");
        let denied: Vec<&str> =
            statement["Action"].as_sequence().into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(denied.contains(&"kms:Decrypt"), "{whose}: {denied:?}");
    }
    assert_eq!(all.iter().map(|(whose, _)| whose.as_str()).collect::<Vec<_>>(), ["the key", "SyncRole", "ConnectRole"]);
    Ok(())
}
