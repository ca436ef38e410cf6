//! Makes a new cluster and writes its configuration.

use std::fs;
use std::path::Path;

use rand::Rng as _;
use rand::distr::Alphanumeric;

use crate::Error;
use crate::command::run;
use crate::endpoint::{Endpoint, SUPERUSER};
use crate::home::write_durably;
use crate::postmaster::Server;

/// The file of settings that every start writes anew; `postgresql.conf` includes it last.
const SETTINGS_FILE: &str = "northstar.conf";

/// Makes a cluster in one step: a process that is killed half-way leaves a draft, never half a cluster.
pub(crate) async fn initialise(server: &Server) -> Result<(), Error> {
    let home = &server.home;
    // 32 letters and digits are 190 bits.
    let password: String = rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
    write_durably(
        &home.password_file(),
        format!("{password}\n").as_bytes(),
        home.account.as_ref(),
    )?;

    let draft = home.path.join(format!("draft-{:08x}", rand::random::<u32>()));
    let mut initdb = server.program("initdb");
    // Locale C: text sorts by code point, fast and the same on every machine.
    initdb.args([
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        "--no-instructions",
        "--username",
        SUPERUSER,
    ]);
    initdb.arg("--pwfile").arg(home.password_file()).arg("--pgdata").arg(&draft);
    run(initdb).await?;

    let conf = draft.join("postgresql.conf");
    let mut text = fs::read_to_string(&conf).map_err(Error::file("read", &conf))?;
    text.push_str(&format!("\ninclude_if_exists = '{SETTINGS_FILE}'\n"));
    write_durably(&conf, text.as_bytes(), home.account.as_ref())?;
    fs::rename(&draft, home.data()).map_err(Error::file("rename", &draft))
}

/// Writes the settings the next start of the server reads.
pub(crate) fn write_settings<'a>(
    server: &Server,
    endpoint: &Endpoint,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Error> {
    let mut text = String::from(
        "# Written by Northstar at every start; put your own settings in postgresql.conf, below the include.\n",
    );
    let (addresses, folders, port) = match endpoint {
        // The list of folders is split at commas unless a name is in double quotes.
        Endpoint::Socket { dir, port } => {
            ("", format!("\"{}\"", dir.to_string_lossy().replace('"', "\"\"")), *port)
        }
        Endpoint::Loopback { port } => ("127.0.0.1", String::new(), *port),
    };
    for (name, value) in settings {
        text.push_str(&line(name, value));
    }
    text.push_str(&line("listen_addresses", addresses));
    text.push_str(&line("unix_socket_directories", &folders));
    text.push_str(&line("port", &port.to_string()));
    write_durably(
        &server.home.data().join(SETTINGS_FILE),
        text.as_bytes(),
        server.home.account.as_ref(),
    )
}

/// A line of `postgresql.conf`, whose strings know quotes by doubling and backslash escapes.
fn line(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\\', r"\\").replace('\'', "''"))
}

/// Removes what processes left that were killed while they made the cluster.
pub(crate) fn remove_drafts(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("draft-") {
            // Only space is lost if this fails.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_setting_may_hold_quotes_and_backslashes() {
        assert_eq!(line("log_line_prefix", r"it's \ "), "log_line_prefix = 'it''s \\\\ '\n");
    }
}
