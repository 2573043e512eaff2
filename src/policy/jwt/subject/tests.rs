use serde_json::json;

use super::*;

fn read(config: Value, claims: Value) -> Result<Subject, &'static str> {
    read_as(config, None, claims)
}

fn read_as(config: Value, tenant: Option<TenantConfig>, claims: Value) -> Result<Subject, &'static str> {
    invalid(config, tenant, claims).map_err(|invalid| invalid.reason)
}

fn invalid(config: Value, tenant: Option<TenantConfig>, claims: Value) -> Result<Subject, Invalid> {
    let config: ClaimsConfig = serde_json::from_value(config).unwrap();
    let rules = SubjectRules::new(&config, 8192, tenant, None);
    rules.read(claims.as_object().unwrap(), "https://issuer.example")
}

#[test]
fn what_is_wrong_with_a_claim_names_it() {
    let config = json!({"plan": "billing.plan", "attributes": {"groups": "groups"}});
    for (claims, expected) in [
        (
            json!({"billing": {"plan": {"name": "pro"}}}),
            "billing.plan is an object",
        ),
        (
            json!({"billing": {"plan": 1.5}}),
            "billing.plan is a number that is not whole",
        ),
        (json!({"billing": {"plan": ["pro"]}}), "billing.plan is a list"),
        (json!({"groups": {"a": 1}}), "groups is an object"),
        (json!({"groups": ["a", {"b": 1}]}), "groups has an object"),
        (json!({"groups": ["a", null]}), "groups has null"),
        (json!({"groups": [""]}), "groups has an empty text"),
        (json!({"roles": "a\n"}), "roles is a text with control characters"),
        (json!({"roles": vec!["role"; 2000]}), "roles has more than 8192 bytes"),
    ] {
        let mut all = json!({"sub": "u"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let found = invalid(config.clone(), None, all).unwrap_err();
        assert_eq!(found.detail.as_deref(), Some(expected));
    }
}

#[test]
fn two_hundred_groups_pass_and_more_may_be_dropped_where_they_are_only_passed_on() {
    let groups = |count| vec!["0f8fad5b-d9cb-469f-a165-70867728950e"; count];
    let both = |count| json!({"sub": "u", "roles": ["r"], "groups": groups(count)});
    let config = |too_long| json!({"attributes": {"groups": "groups"}, "too_long": too_long});
    assert_eq!(read(json!({"roles": "groups"}), both(200)).unwrap().roles.len(), 200);
    assert_eq!(read(config("deny"), both(200)).unwrap().attributes[0].1.len(), 200);
    assert_eq!(read(config("deny"), both(300)), Err("claim_too_long"));
    let dropped = read(config("drop"), both(300)).unwrap();
    assert_eq!(
        (dropped.attributes[0].1.len(), dropped.roles),
        (0, vec!["r".to_owned()])
    );
    let roles = json!({"roles": "groups", "too_long": "drop"});
    assert_eq!(
        read(roles, both(300)),
        Err("claim_too_long"),
        "what decisions hang on stays"
    );
    assert_eq!(
        read(config("drop"), json!({"sub": "u", "groups": {}})),
        Err("claim_malformed")
    );
}

#[test]
fn each_claim_goes_where_it_belongs() {
    let claims = json!({
        "sub": "u1", "tenant_id": "t1", "roles": ["admin", "member"], "scope": "a.read  b.write", "plan": "pro", "email": "e@x",
    });
    let subject = read(json!({"attributes": {"mail": "email", "none": "absent"}}), claims).unwrap();
    assert_eq!(
        subject,
        Subject {
            method: "jwt",
            issuer: Some("https://issuer.example".into()),
            key_id: None,
            user_id: "u1".into(),
            tenant_id: Some("t1".into()),
            roles: vec!["admin".into(), "member".into()],
            scopes: vec!["a.read".into(), "b.write".into()],
            plan: Some("pro".into()),
            attributes: vec![("mail".into(), vec!["e@x".into()]), ("none".into(), vec![])],
        }
    );
}

#[test]
fn paths_are_dotted_or_literal() {
    let config =
        json!({"roles": "realm_access.roles", "tenant_id": ["https://x.example/tenant"], "plan": ["a.b", "c"]});
    let claims =
        json!({"sub": "u", "realm_access": {"roles": ["r"]}, "https://x.example/tenant": 42, "a.b": {"c": "pro"}});
    let subject = read(config, claims).unwrap();
    assert_eq!(
        (subject.roles, subject.tenant_id, subject.plan),
        (vec!["r".to_owned()], Some("42".into()), Some("pro".into()))
    );
    for bad in [
        json!(""),
        json!("a..b"),
        json!("."),
        json!([]),
        json!([""]),
        json!(1),
        json!(null),
    ] {
        assert!(serde_json::from_value::<ClaimPath>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_string_is_one_role_and_only_scopes_split() {
    let subject = read(
        json!({}),
        json!({"sub": "u", "roles": "super admin", "scope": ["a b", "c"]}),
    )
    .unwrap();
    assert_eq!(subject.roles, ["super admin"]);
    assert_eq!(subject.scopes, ["a b", "c"]);
}

#[test]
fn absent_and_null_claims_say_nothing_but_the_user_must_be_there() {
    let subject = read(
        json!({}),
        json!({"sub": "u", "tenant_id": null, "roles": [], "scope": ""}),
    )
    .unwrap();
    assert_eq!(
        (subject.tenant_id, subject.roles.len(), subject.scopes.len()),
        (None, 0, 0)
    );
    assert_eq!(read(json!({}), json!({})), Err("user_missing"));
    assert_eq!(
        read(json!({"user_id": "uid"}), json!({"sub": "u"})),
        Err("user_missing")
    );
    assert_eq!(
        read(json!({"user_id": "a.b"}), json!({"a": "text"})),
        Err("user_missing")
    );
}

#[test]
fn what_a_header_cannot_carry_is_refused() {
    for bad in ["", "a\nb", "a\r\nx: y", "\0", "\u{7f}", "\u{85}"] {
        assert_eq!(read(json!({}), json!({"sub": bad})), Err("claim_malformed"), "{bad:?}");
        assert_eq!(
            read(json!({}), json!({"sub": "u", "roles": ["r", bad]})),
            Err("claim_malformed"),
            "{bad:?}"
        );
    }
    for bad in [json!({}), json!(1.5), json!([["r"]]), json!([null])] {
        assert_eq!(
            read(json!({}), json!({"sub": "u", "roles": bad})),
            Err("claim_malformed"),
            "{bad}"
        );
    }
    assert!(read(json!({}), json!({"sub": "u".repeat(8192)})).is_ok());
    assert_eq!(read(json!({}), json!({"sub": "u".repeat(8193)})), Err("claim_too_long"));
    assert_eq!(
        read(json!({}), json!({"sub": "u", "roles": vec!["role"; 2000]})),
        Err("claim_too_long")
    );
}

#[test]
fn an_issuer_is_tied_to_its_plan() {
    let rules = |plan| SubjectRules::new(&ClaimsConfig::default(), 8192, None, plan);
    let plan = |rules: SubjectRules, claims: Value| rules.read(claims.as_object().unwrap(), "i").unwrap().plan;
    let fixed = || Some(FixedPlan { fixed: "gold".into() });
    assert_eq!(
        plan(rules(fixed()), json!({"sub": "u", "plan": "free"})),
        Some("gold".into())
    );
    assert_eq!(plan(rules(fixed()), json!({"sub": "u"})), Some("gold".into()));
    assert_eq!(
        plan(rules(None), json!({"sub": "u", "plan": "free"})),
        Some("free".into())
    );
}

#[test]
fn an_issuer_is_tied_to_its_tenants() {
    let claims = |tenant: &str| json!({"sub": "u", "tenant_id": tenant});
    let allowed = TenantConfig::Allowed(vec!["t1".into(), "t2".into()]);
    let tenant =
        |rule: &TenantConfig, claims| read_as(json!({}), Some(rule.clone()), claims).map(|subject| subject.tenant_id);
    assert_eq!(tenant(&allowed, claims("t2")), Ok(Some("t2".into())));
    assert_eq!(tenant(&allowed, claims("t3")), Err("tenant_not_allowed"));
    assert_eq!(tenant(&allowed, json!({"sub": "u"})), Err("tenant_not_allowed"));
    let fixed = TenantConfig::Fixed("t1".into());
    assert_eq!(tenant(&fixed, claims("t3")), Ok(Some("t1".into())));
}
