//! Starts that cannot be: one line that says what to do, and an exit code that is not 0.

use crate::harness::{Place, refused};

#[test]
fn a_second_server_on_the_same_data_folder_is_refused() {
    let place = Place::new();
    let _first = place.start();
    let (code, said) = refused(&mut place.command());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another pernode server (process "), "{said}");
    assert!(said.contains("stop it or choose another with --data-dir"), "{said}");
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let (place, other) = (Place::new(), Place::new());
    let first = place.start();
    let address = format!("127.0.0.1:{}", first.port());
    let mut command = crate::harness::pernode();
    command.args(["server", "--listen", &address, "--data-dir"]).arg(other.data());
    let (code, said) = refused(&mut command);
    assert_eq!(code, 1, "{said}");
    let expected = format!(
        "cannot listen on {address}: the port is taken; stop who has it, or choose another with --listen"
    );
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn bad_flags_and_files_are_refused_in_one_line_each() {
    let place = Place::new();
    let nothing = place.file("nothing");
    let table: [(&[&str], i32, &str); 7] = [
        (&["--parts", "daemonset"], 1, "--parts must name apiserver"),
        (&["--parts", "kitchen"], 2, "invalid value 'kitchen'"),
        (&["--event-ttl", "soon"], 2, "expected a duration such as 1h, 90m or 1h30m"),
        (&["--enable-admission-plugins", "Nonsense"], 1, "Nonsense"),
        (&["--token-auth-file", nothing.to_str().unwrap()], 1, "cannot read it"),
        (&["--data-dir", "/dev/null/x"], 1, "mend its rights or choose another with --data-dir"),
        (&["--no-such-flag"], 2, "--no-such-flag"),
    ];
    for (flags, code, says) in table {
        let mut command = crate::harness::pernode();
        command.args(["server", "--listen", "127.0.0.1:0"]);
        if !flags.contains(&"--data-dir") {
            command.arg("--data-dir").arg(place.data());
        }
        let (found, said) = refused(command.args(flags));
        assert!(found == code && said.contains(says), "{flags:?}: {found} {said}");
    }
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let place = Place::new();
    place.start().end("-TERM");
    let store = place.file("store");
    let largest = std::fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    // in the text of objects: a label of the roles that are written at every first start. Everywhere, since pages
    // that were split leave stale copies behind
    let text = b"rbac-defaults";
    let places: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 3] ^= 1;
    }
    std::fs::write(&largest, &bytes).unwrap();
    let (code, said) = refused(&mut place.command());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("cannot open the store: ") && said.contains("restore"), "{said}");
    assert_eq!(std::fs::read(&largest).unwrap(), bytes, "evidence is not touched");
}

#[test]
fn a_damaged_ca_is_refused_with_advice() {
    let place = Place::new();
    place.start().end("-TERM");
    std::fs::write(place.file("pki/ca.key"), "nonsense").unwrap();
    let (code, said) = refused(&mut place.command());
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("the CA's key cannot be read") && said.contains("from a backup"),
        "{said}"
    );
}
