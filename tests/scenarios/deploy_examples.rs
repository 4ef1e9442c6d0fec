//! The manifests under `config/deploy`: what they mount is what respgate finds there, and accepts.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, YamlOwned};

use crate::support::Certs;
use crate::support::cli::respgate;

const CONFIG: &str = "/etc/respgate/respgate.toml";

/// The root folder of a container, as far as the manifest fills it.
struct Root {
    dir: tempfile::TempDir,
    /// Where something is mounted.
    mounts: Vec<String>,
}

impl Root {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            mounts: Vec::new(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn mount(&mut self, at: &str, files: &[(&str, Vec<u8>)]) {
        self.mounts.push(at.to_owned());
        for (name, content) in files {
            let path = match name.is_empty() {
                true => self.path(at),
                false => self.path(at).join(name),
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            // As a secret is mounted: for the user who runs it alone.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Lets `respgate check` read the configuration as the container would.
    #[track_caller]
    fn check(&self) {
        let path = self.path(CONFIG);
        let mut text = fs::read_to_string(&path).expect("no configuration is mounted");
        for word in text.split('"').filter(|word| word.starts_with('/')) {
            let is_mounted = |mount: &String| Path::new(word).starts_with(mount);
            assert!(self.mounts.iter().any(is_mounted), "{word} is not mounted");
        }
        for folder in ["/etc/", "/run/"] {
            let moved = format!("\"{}/", self.path(folder).display());
            text = text.replace(&format!("\"{folder}"), &moved.replace("//", "/"));
        }
        fs::write(&path, &text).unwrap();
        let path = path.to_str().unwrap();
        let outcome = respgate(&["check", "--config", path]).expect_code(0);
        assert!(!outcome.stderr.contains("warning"), "{outcome:#?}");
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deploy")
}

fn documents(name: &str) -> Vec<YamlOwned> {
    let text = fs::read_to_string(deploy().join(name)).unwrap();
    YamlOwned::load_from_str(&text).unwrap()
}

/// What stands under a path of keys; a number is a place in a list.
#[track_caller]
fn at<'a>(node: &'a YamlOwned, path: &str) -> &'a YamlOwned {
    find(node, path).unwrap_or_else(|| panic!("no {path} in {node:?}"))
}

fn find<'a>(node: &'a YamlOwned, path: &str) -> Option<&'a YamlOwned> {
    path.split('.')
        .try_fold(node, |node, key| match key.parse() {
            Ok(index) => node.as_sequence_get(index),
            Err(_) => node.as_mapping_get(key),
        })
}

#[track_caller]
fn text<'a>(node: &'a YamlOwned, path: &str) -> &'a str {
    at(node, path).as_str().expect("a text")
}

#[track_caller]
fn list<'a>(node: &'a YamlOwned, path: &str) -> &'a [YamlOwned] {
    at(node, path).as_sequence().expect("a list")
}

fn words(node: &YamlOwned, path: &str) -> Vec<String> {
    let items = list(node, path).iter();
    items
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

fn certificate(name: &str) -> Vec<u8> {
    fs::read(Certs::shared().file(name)).unwrap()
}

/// The port of `admin.probe` in a configuration.
fn probe(config: &str) -> i64 {
    let (_, rest) = config.split_once("probe = \"0.0.0.0:").expect("a probe");
    rest.split('"').next().unwrap().parse().unwrap()
}

fn check_manifest(name: &str, kind: &str) {
    let documents = documents(name);
    let of_kind = |kind: &str| {
        let mut found = documents.iter().filter(|one| text(one, "kind") == kind);
        found
            .next()
            .unwrap_or_else(|| panic!("no {kind} in {name}"))
    };
    let map = of_kind("ConfigMap");
    let pod = at(of_kind(kind), "spec.template.spec");
    let container = list(pod, "containers")
        .iter()
        .find(|one| text(one, "name") == "respgate")
        .unwrap();
    let volumes: HashMap<&str, &YamlOwned> = list(pod, "volumes")
        .iter()
        .map(|volume| (text(volume, "name"), volume))
        .collect();

    let mut root = Root::new();
    for mount in list(container, "volumeMounts") {
        let volume = volumes[text(mount, "name")];
        let path = text(mount, "mountPath");
        if let Some(named) = find(volume, "configMap.name") {
            assert_eq!(named.as_str(), Some(text(map, "metadata.name")));
            let data = at(map, "data").as_mapping().unwrap();
            let files: Vec<_> = data
                .iter()
                .map(|(name, content)| {
                    let content = content.as_str().unwrap().as_bytes().to_vec();
                    (name.as_str().unwrap(), content)
                })
                .collect();
            root.mount(path, &files);
        } else if let Some(secret) = find(volume, "secret.secretName") {
            match secret.as_str().unwrap().ends_with("-tls") {
                true => root.mount(
                    path,
                    &[
                        ("tls.crt", certificate("server.pem")),
                        ("tls.key", certificate("server.key")),
                        ("ca.crt", certificate("ca.pem")),
                    ],
                ),
                false => root.mount(path, &[("password", b"secret\n".to_vec())]),
            }
        } else {
            assert!(find(volume, "emptyDir").is_some(), "{volume:?}");
            root.mount(path, &[]);
        }
    }
    let config = fs::read_to_string(root.path(CONFIG)).unwrap();
    root.check();

    assert_eq!(words(container, "args"), ["run", "--config", CONFIG]);
    assert_eq!(
        words(container, "startupProbe.exec.command"),
        ["/usr/local/bin/respgate", "healthcheck", "--config", CONFIG]
    );
    let ports: HashMap<&str, i64> = list(container, "ports")
        .iter()
        .map(|port| {
            (
                text(port, "name"),
                at(port, "containerPort").as_integer().unwrap(),
            )
        })
        .collect();
    for (check, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let check = at(container, check);
        assert_eq!(text(check, "httpGet.path"), path);
        assert_eq!(ports[text(check, "httpGet.port")], probe(&config));
    }
    assert!(config.contains(&format!("bind = [\"0.0.0.0:{}\"]", ports["redis-tls"])));

    let is_true = |node, path: &str| assert_eq!(at(node, path).as_bool(), Some(true), "{path}");
    is_true(pod, "securityContext.runAsNonRoot");
    is_true(container, "securityContext.readOnlyRootFilesystem");
    assert_eq!(
        text(pod, "securityContext.seccompProfile.type"),
        "RuntimeDefault"
    );
    assert_eq!(
        words(container, "securityContext.capabilities.drop"),
        ["ALL"]
    );
    let escalation = at(container, "securityContext.allowPrivilegeEscalation");
    assert_eq!(escalation.as_bool(), Some(false));
    // Longer than the drain, whose default the configuration keeps.
    assert!(!config.contains("drain_timeout"));
    assert!(
        at(pod, "terminationGracePeriodSeconds")
            .as_integer()
            .unwrap()
            > 25
    );
}

#[test]
fn the_sidecar_manifest_mounts_what_respgate_accepts() {
    check_manifest("sidecar.yaml", "StatefulSet");
}

#[test]
fn the_daemonset_manifest_mounts_what_respgate_accepts() {
    check_manifest("daemonset.yaml", "DaemonSet");
}

#[test]
fn the_compose_file_mounts_what_respgate_accepts() {
    let documents = documents("compose/compose.yaml");
    let service = at(&documents[0], "services.respgate");
    let folder = deploy().join("compose");
    let mut root = Root::new();
    for mount in words(service, "volumes") {
        let [from, to, "ro"] = mount.split(':').collect::<Vec<_>>()[..] else {
            panic!("{mount}");
        };
        match from {
            "./certs" => {
                let names = ["server.pem", "server.key", "ca.pem"];
                let files = names.map(|name| (name, certificate(name)));
                root.mount(to, &files);
            }
            _ => root.mount(to, &[("", fs::read(folder.join(from)).unwrap())]),
        }
    }
    for secret in words(service, "secrets") {
        assert!(find(&documents[0], &format!("secrets.{secret}.file")).is_some());
        root.mount(
            &format!("/run/secrets/{secret}"),
            &[("", b"secret\n".to_vec())],
        );
    }
    let config = fs::read_to_string(root.path(CONFIG)).unwrap();
    // The names of its networks are those of the services.
    assert!(config.contains("address = \"redis:6379\""));
    assert!(find(&documents[0], "services.redis").is_some());
    root.check();
    assert_eq!(
        words(service, "healthcheck.test")[1..].join(" "),
        format!(
            "/usr/local/bin/respgate healthcheck --address 127.0.0.1:{}",
            probe(&config)
        )
    );
    assert_eq!(at(service, "read_only").as_bool(), Some(true));
    assert_eq!(words(service, "cap_drop"), ["ALL"]);
    assert!(
        folder
            .join(text(service, "build"))
            .join("Dockerfile")
            .exists()
    );
}

/// The examples that stand alone, laid out as they say; what is yours to make is made.
#[test]
fn every_example_is_accepted_where_its_files_are() {
    let mut checked = 0;
    for entry in fs::read_dir(deploy()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".toml") {
            continue;
        }
        checked += 1;
        let root = Root::new();
        let folder = root.path("config/deploy");
        fs::create_dir_all(&folder).unwrap();
        let users = fs::read(deploy().join("../users.acl")).unwrap();
        // Beside the configuration in the image, and one further up here.
        for to in ["config/users.acl", "config/deploy/users.acl"] {
            fs::write(root.path(to), &users).unwrap();
        }
        let mut text = fs::read_to_string(deploy().join(&name)).unwrap();
        assert!(text.contains("\n[admin]"), "{name} has no admin address");
        for line in text.lines() {
            let Some((key, value)) = line.split_once(" = ") else {
                continue;
            };
            let content = match key {
                "cert" => certificate("server.pem"),
                "key" => certificate("server.key"),
                "client_ca" => certificate("ca.pem"),
                "password_file" => b"secret\n".to_vec(),
                // Where it isn't the one beside the examples, it is the operator's.
                "acl_files" if line.contains("\"/") => b"user cart on ~cart:* +@read\n".to_vec(),
                "acl_files" => continue,
                "path" => Vec::new(),
                _ => continue,
            };
            let value = value.split('"').nth(1).unwrap();
            let path = match value.strip_prefix('/') {
                Some(absolute) => root.path(absolute),
                None => folder.join(value),
            };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if value != "-" {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        for folder in ["/etc/", "/run/", "/var/"] {
            let moved = format!("\"{}/", root.path(folder).display());
            text = text.replace(&format!("\"{folder}"), &moved.replace("//", "/"));
        }
        let path = folder.join(&name);
        fs::write(&path, text).unwrap();
        let outcome = respgate(&["check", "--config", path.to_str().unwrap()]).expect_code(0);
        assert!(!outcome.stderr.contains("warning"), "{name}: {outcome:#?}");
    }
    assert!(checked >= 5, "{checked}");
}
