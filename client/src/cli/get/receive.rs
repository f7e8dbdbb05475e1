//! The content of one answer, whatever it is: for `request`, which makes no second attempt.

use super::super::Voice;
use super::super::exchange::{Answer, body_error};
use super::super::output::Output;
use super::super::progress::Progress;
use super::super::summary::Summary;
use sealpair_common::exit::Exit;
use sealpair_common::report::Report;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// A few records at a time, and a few system calls for a large file.
const PIECE: usize = 64 << 10;

/// Reads the content of an answer to where it belongs.
pub(crate) fn receive(answer: Answer, mut output: Output, voice: Voice) -> Result<Exit, Report> {
    let summary = Summary::of(&answer);
    if answer.is_not_modified() {
        // What the user has is good: nothing is written.
        summary.say(voice, 0, None)?;
        return Ok(Exit::Done);
    }
    let on_screen = output.is_standard() && io::stdout().is_terminal();
    let progress = Progress::new(answer.length(), voice, on_screen);
    let mut bytes = 0;
    let mut body = answer.response.into_body();
    let prompt = output.is_through();
    in_pieces(&mut body.as_reader(), prompt, &mut |piece| {
        output.write(piece)?;
        bytes += piece.len() as u64;
        progress.advance(piece.len());
        Ok(())
    })?;
    drop(progress);
    let name = output.name().to_owned();
    let standard = output.is_standard();
    output.finish(None)?;
    // Beside content on standard output, a line is only said when it is asked for.
    let quiet = voice.quiet || (standard && !voice.verbose);
    summary.say(Voice { quiet, ..voice }, bytes, Some(&name))?;
    Ok(Exit::Done)
}

/// Reads to the end and hands on pieces. Who reads a pipe gets what there is, promptly; a file gets
/// pieces that are worth a system call.
pub(super) fn in_pieces(
    reader: &mut dyn Read,
    prompt: bool,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Report>,
) -> Result<(), Report> {
    let mut piece = vec![0; PIECE];
    let mut filled = 0;
    loop {
        let read = reader.read(piece.get_mut(filled..).unwrap_or_default());
        let more = match &read {
            Ok(count) => *count > 0,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        };
        filled += read.as_ref().copied().unwrap_or_default();
        // What came before a failure is good.
        if filled > 0 && (filled == piece.len() || !more || prompt) {
            take(piece.get(..filled).unwrap_or_default())?;
            filled = 0;
        }
        match read {
            Ok(0) => return Ok(()),
            Err(error) if !more => return Err(body_error(error)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Standard output holds the document; the content needs a place of its own.
pub(crate) fn need_file_for_json(output: Option<&Path>, voice: Voice) -> Result<(), Report> {
    if voice.json && output.is_none_or(|path| path == Path::new("-")) {
        return Err(Report::new(Exit::Usage, "json-output", "--json needs -o FILE")
            .explain("standard output is for the JSON document, so the content must go elsewhere")
            .remedy("add -o FILE, or -o /dev/null to throw the content away"));
    }
    Ok(())
}
