// SPDX-License-Identifier: GPL-3.0-or-later
//! `wyng.Fetch`: LIST, STAT, GET, VERSIONS, answered in order. An end of file between two requests
//! ends the call, because nothing has to be finished. Nothing is written.
//!
//! A folder is read request by request. A store behind a network works on many requests at a time:
//! see `ahead`.

mod ahead;
mod answers;

use wyng_wire::{ToDaemon, ToHelper, ToHelperRules};

use crate::exit::CallError;
use crate::input::Input;
use crate::output::Output;
use crate::piece::Piece;
use crate::store::Fetch;
use answers::{AskedGet, AskedList, AskedStat, AskedVersions, list, read_range, stated, versions};

pub(crate) fn serve<S: Fetch + Send + Sync + 'static>(
    store: S,
    input: &mut Input,
    output: &Output,
    rules: ToHelperRules,
) -> Result<(), CallError> {
    if S::REQUESTS_AT_ONCE > 1 {
        return ahead::serve(store, input, output, rules);
    }
    one_by_one(&store, input, output, rules)
}

fn one_by_one<S: Fetch>(
    store: &S,
    input: &mut Input,
    output: &Output,
    mut rules: ToHelperRules,
) -> Result<(), CallError> {
    let mut piece = Piece::new()?;
    while let Some(frame) = input.frame(&mut rules)? {
        match frame {
            ToHelper::List(asked) => list(store, output, &AskedList::from(&asked))?,
            ToHelper::Stat(stat) => {
                let stated = stated(store, &AskedStat::from(&stat))?;
                output.send(&ToDaemon::Stated(stated))?
            }
            ToHelper::Get(get) => {
                let asked = AskedGet::from(&get);
                read_range(store, &asked, &mut piece, &mut |bytes, piece| {
                    output.send_with_body(&ToDaemon::Bytes(bytes), piece.take())
                })?
            }
            ToHelper::Versions(asked) => {
                let (shown, end) = versions(store, &AskedVersions::from(&asked))?;
                for version in shown {
                    output.send(&ToDaemon::Version(version))?;
                }
                output.send(&ToDaemon::VersionsEnd(end))?
            }
            // In this service the rules accept nothing else except KEEP_ALIVE.
            _ => {}
        }
    }
    Ok(())
}
