//! The scripts that ACL files name (`script=FILE`), read together with them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::policy::{Source, script_names};

/// What a script's file holds, or why it can't be used.
type Content = Result<Vec<u8>, String>;

/// A script travels to the upstream whole, once a connection, and inside MULTI with every call. The
/// largest that libraries bring along are some tens of KB; a file that is larger than this is not
/// meant.
const MOST: u64 = 1024 * 1024;

/// Reads every script that the ACL files name. A name is looked for beside each ACL file: a role's
/// rules may stand in another one than its user.
pub(super) fn read_scripts(sources: &[Source]) -> HashMap<PathBuf, Content> {
    let mut scripts = HashMap::new();
    for name in sources.iter().flat_map(script_names) {
        for source in sources {
            let path = beside(&source.path, name);
            scripts
                .entry(path)
                .or_insert_with_key(|path| read_script(path));
        }
    }
    scripts
}

/// The path of a script that is named in the file `acl`.
pub(super) fn beside(acl: &Path, name: &str) -> PathBuf {
    acl.parent().unwrap_or(Path::new("")).join(name)
}

/// Whether a directory's file is a script and not more users.
pub(super) fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lua")
}

fn read_script(path: &Path) -> Content {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    // Reading a pipe would wait for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(format!("{}: not a file", path.display()));
    }
    let mut body = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MOST + 1).read_to_end(&mut body);
    match read.map_err(unreadable)? {
        0 => Err(format!("{}: empty", path.display())),
        len if len as u64 > MOST => Err(format!("{}: larger than 1 MB", path.display())),
        _ => Ok(body),
    }
}
