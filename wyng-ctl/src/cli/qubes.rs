// SPDX-License-Identifier: GPL-3.0-or-later
//! The qubes of a backup, as the command line names them.

use clap::Args;
use wyng_config::{AdminDomain, Config, Profile};
use wyng_control::{QubeChoice, is_qube_continued, is_qube_exclusion, is_qube_selector};

/// Which qubes are backed up.
#[derive(Debug, Args)]
pub(crate) struct QubeArgs {
    /// In dom0: back up the volumes and settings of this qube, given as a name, @tag:TAG,
    /// @type:CLASS, or @all for those that are to be in backups; may be given several times
    #[arg(long, value_name = "QUBE", value_parser = parse_qube, conflicts_with_all = ["all", "profile"])]
    qube: Vec<String>,
    /// Leave out this qube, given as a name, @tag:TAG or @type:CLASS; may be given several times
    #[arg(long, value_name = "QUBE", value_parser = parse_exclusion)]
    exclude: Vec<String>,
    /// Continue the history that the archive has under the name of this qube (or @all), where this
    /// machine does not know whose it is; may be given several times
    #[arg(long = "continue", value_name = "QUBE", value_parser = parse_continued)]
    continues: Vec<String>,
    /// The qubes of the command line, of `--all` or of the profile.
    #[arg(skip)]
    choice: QubeChoice,
}

impl QubeArgs {
    /// Whether the command line names qubes.
    pub(super) fn are_named(&self) -> bool {
        !self.qube.is_empty()
    }

    /// The qubes, once the gaps of the command line are filled.
    pub(super) fn choice(&self) -> QubeChoice {
        self.choice.clone()
    }

    /// Whether qubes are left out, and none is taken.
    pub(super) fn exclude_in_vain(&self) -> bool {
        !self.exclude.is_empty() && self.choice.is_empty()
    }

    /// Whether qubes are to continue their histories, and none is taken.
    pub(super) fn continue_in_vain(&self) -> bool {
        !self.continues.is_empty() && self.choice.is_empty()
    }

    /// Takes the qubes that the command line names.
    pub(super) fn take_named(&mut self) {
        self.choose(self.qube.clone(), Vec::new());
    }

    /// Takes the qubes of `--all`, where there are any, and returns whether there are.
    pub(super) fn take_all(&mut self, config: &Config) -> bool {
        let in_dom0 = config.qubes.admin_domain() == Some(AdminDomain::Dom0);
        if in_dom0 {
            self.choose(QubeChoice::all().qubes, Vec::new());
        }
        in_dom0
    }

    /// Takes the qubes of a profile.
    pub(super) fn take_profile(&mut self, profile: &Profile) {
        let QubeChoice { qubes, exclude, .. } = profile.qubes.clone();
        self.choose(qubes, exclude);
    }

    /// Takes the settings of the whole system, too, where qubesd is.
    pub(super) fn take_system(&mut self, config: &Config) {
        if config.qubes.admin_domain() == Some(AdminDomain::Dom0) && !self.choice.has_system() {
            self.choice.take_system();
        }
    }

    fn choose(&mut self, qubes: Vec<String>, mut exclude: Vec<String>) {
        exclude.extend(self.exclude.iter().cloned());
        self.choice = QubeChoice {
            qubes,
            exclude,
            continues: self.continues.clone(),
        };
    }
}

fn parse_qube(word: &str) -> Result<String, String> {
    if is_qube_selector(word) {
        Ok(word.to_owned())
    } else {
        Err("a qube's name, @tag:TAG, @type:CLASS or @all".into())
    }
}

fn parse_exclusion(word: &str) -> Result<String, String> {
    if is_qube_exclusion(word) {
        Ok(word.to_owned())
    } else {
        Err("a qube's name, @tag:TAG or @type:CLASS".into())
    }
}

fn parse_continued(word: &str) -> Result<String, String> {
    if is_qube_continued(word) {
        Ok(word.to_owned())
    } else {
        Err("a qube's name, or @all".into())
    }
}
