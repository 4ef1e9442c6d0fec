use super::*;

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    items
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect()
}

fn compile(
    rename: &[(&str, &str)],
    substitute: &[(&str, &str)],
) -> Result<(Table, Names), Vec<RewriteError>> {
    let table = Table::builtin();
    let names = Names::compile(&table, &pairs(rename), &pairs(substitute))?;
    Ok((table, names))
}

#[test]
fn a_renamed_command_answers_to_its_new_name_only() {
    let (table, names) = compile(&[("flushall", ""), ("config", "CONFIG_b840fc02")], &[]).unwrap();
    assert!(names.find(b"FLUSHALL").is_none());
    assert!(names.find(b"config").is_none());
    let entry = names.find(b"config_B840FC02").unwrap();
    assert_eq!(table.command(entry.run()).name, "config");
    assert_eq!(entry.replacement().unwrap().head(), b"$6\r\nconfig\r\n");
    let args: OwnedArgs = ["config_b840fc02", "GET", "x"].iter().collect();
    let get = table.find_full("config|get").unwrap();
    assert_eq!(
        entry.resolve(&args.as_args(), &table),
        Resolved::Command(get)
    );
    assert!(names.find(b"get").unwrap().replacement().is_none());
}

#[test]
fn a_substitute_runs_in_the_place_of_its_command() {
    let (table, names) =
        compile(&[], &[("del", "UNLINK"), ("flushall", "FLUSHALL ASYNC")]).unwrap();
    let del = names.find(b"DEL").unwrap();
    assert_eq!(table.command(del.run()).name, "unlink");
    assert_eq!(table.command(del.sent()).name, "del");
    assert!(del.is_substitute());
    assert_eq!(del.replacement().unwrap().count(3), 3);
    let flush = names.find(b"flushall").unwrap();
    let bare: OwnedArgs = ["flushall"].iter().collect();
    let sync: OwnedArgs = ["flushall", "sync"].iter().collect();
    assert_eq!(
        flush.judged(&bare.as_args()).unwrap().get(1),
        Some(&b"ASYNC"[..])
    );
    assert!(flush.judged(&sync.as_args()).is_none());
    assert_eq!(
        flush.replacement().unwrap().head(),
        b"$8\r\nFLUSHALL\r\n$5\r\nASYNC\r\n"
    );
}

#[test]
fn rename_comes_before_substitute() {
    let (table, names) = compile(&[("del", "ERASE")], &[("del", "UNLINK")]).unwrap();
    assert!(names.find(b"del").is_none());
    assert_eq!(
        table.command(names.find(b"erase").unwrap().run()).name,
        "unlink"
    );
}

#[test]
fn two_commands_may_swap_their_names() {
    let (table, names) = compile(&[("get", "set"), ("set", "get")], &[]).unwrap();
    assert_eq!(table.command(names.find(b"get").unwrap().run()).name, "set");
    assert_eq!(table.command(names.find(b"set").unwrap().run()).name, "get");
}

#[test]
fn every_mistake_is_reported() {
    let errors = compile(
        &[("nosuch", "x"), ("del", "get"), ("auth", "")],
        &[
            ("flushdb", "NOSUCH"),
            ("get", "QUIT"),
            ("acl", "PING"),
            ("time", "ACL"),
            ("set", "FLUSHALL a b c"),
        ],
    )
    .unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    for part in [
        "rewrite.rename.nosuch: no such command",
        "rewrite.rename.del = \"get\": the name is taken",
        "rewrite.rename.auth: the proxy answers auth itself",
        "rewrite.substitute.flushdb = \"NOSUCH\": no such command",
        "the proxy answers quit itself",
        "rewrite.substitute.acl: the proxy answers acl itself",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
