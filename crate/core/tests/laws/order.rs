//! Data goes one way: a module uses only those that stand before it in `lib.rs`.

use std::{fs, path::Path};

fn sources(path: &Path, text: &mut String) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| sources(&entry.unwrap().path(), text));
    } else {
        // Tests may look anywhere.
        let source = fs::read_to_string(path).unwrap();
        text.push_str(source.split("#[cfg(test)]\nmod tests {").next().unwrap());
    }
}

#[test]
fn modules_use_only_those_above_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).unwrap();
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .filter(|name| *name != "testing")
        .collect();
    assert!(modules.len() > 8, "lib.rs lists {modules:?}");
    for (i, module) in modules.iter().enumerate() {
        let mut text = String::new();
        for path in [src.join(format!("{module}.rs")), src.join(module)] {
            if path.exists() {
                sources(&path, &mut text);
            }
        }
        assert!(!text.is_empty(), "module {module} has no source");
        for later in &modules[i + 1..] {
            let used = text.contains(&format!("crate::{later}::")) || text.contains(&format!("\n    {later}::"));
            assert!(!used, "{module} uses {later}, which stands after it in lib.rs");
        }
    }
}
