use serde_json::json;

use super::*;

fn read(config: Value, claims: Value) -> Result<Subject, Reason> {
    read_as(config, None, claims)
}

fn read_as(config: Value, tenant: Option<TenantConfig>, claims: Value) -> Result<Subject, Reason> {
    let config: ClaimsConfig = serde_json::from_value(config).unwrap();
    SubjectRules::new(&config, tenant, None).read(claims.as_object().unwrap(), "https://issuer.example")
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
    assert!(read(json!({}), json!({"sub": "u".repeat(4096)})).is_ok());
    assert_eq!(read(json!({}), json!({"sub": "u".repeat(4097)})), Err("claim_too_long"));
    assert_eq!(
        read(json!({}), json!({"sub": "u", "roles": vec!["role"; 1000]})),
        Err("claim_too_long")
    );
}

#[test]
fn an_issuer_is_tied_to_its_plan() {
    let rules = |plan| SubjectRules::new(&ClaimsConfig::default(), None, plan);
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
