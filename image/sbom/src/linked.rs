//! What the linker took from the system, by its map.

use std::collections::BTreeSet;

/// The libraries of which something is in the binary, of those that are not of a crate: `/usr/lib/x86_64-linux-gnu/libssl.a` and the like.
/// The map begins with a list of the members of archives that were taken, each with the file that wanted it on the next line, and goes
/// on with all files that were read, from which nothing may have been taken.
pub fn system_archives(map: &str) -> BTreeSet<String> {
    let end = "\nDiscarded input sections";
    let taken = map.split(end).next().unwrap_or_default();
    taken
        .lines()
        .filter_map(|line| {
            let (archive, member) = line.split_once('(')?;
            let by_name = archive.ends_with(".a") && member.ends_with(".o)");
            (by_name && archive.starts_with("/usr/")).then(|| normal(archive))
        })
        .collect()
}

/// The C compiler names its own folder and goes up from there: `/usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc.a`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_those_of_which_a_member_was_taken() {
        let map = "Archive member included to satisfy reference by file (symbol)\n\n\
            /target/deps/libring-1.rlib(a.o)\n                              main.o (ring)\n\
            /usr/lib/x86_64-linux-gnu/libssl.a(s.o)\n                              rdkafka.o (SSL_new)\n\
            /usr/lib/gcc/x86_64-linux-gnu/12/../../../x86_64-linux-gnu/libc.a(libc-start.o)\n\
            /usr/lib/x86_64-linux-gnu/libssl.a(t.o)\n\
            \nDiscarded input sections\n\n\
             .text  0x0 /usr/lib/x86_64-linux-gnu/libz.a(inflate.o)\n";
        let archives = system_archives(map);
        assert!(archives.iter().eq([
            "/usr/lib/x86_64-linux-gnu/libc.a",
            "/usr/lib/x86_64-linux-gnu/libssl.a"
        ]));
    }
}
