//! `luma batch report`: a contact sheet in one HTML file, which needs no network and no other file.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use luma_agents::types::GenerationFailureCode;
use luma_agents_batch::{
    Attempt, CustomId, NoJob, State,
    estimate::is_refunded,
    input::Line,
    output::{ResultError, ResultLine},
};

use super::{database::DatabaseArgs, place::Place, status, thumbnail::thumbnail, view::View};
use crate::{cli::Context, exit::Exit, failure::Failure, target::unnamed};

const PAGE: &str = include_str!("report.html");

/// Write a contact sheet of a batch: one HTML file with thumbnails, prompts, costs and failures
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    database: DatabaseArgs,

    /// File to write [default: NAME.report.html beside the journal]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) async fn run(context: &mut Context, args: ReportArgs) -> Result<Exit, Failure> {
    let view = View::read(&args.place, &args.database).await?;
    let journal = args.place.journal_path()?;
    let Some(out) = args.out.or_else(|| args.place.beside(".report.html")) else {
        return Err(Failure::usage("the report has no name; say --out FILE"));
    };
    if out.exists() && out.extension().is_none_or(|it| it != "html") {
        return Err(Failure::usage(format!("{} exists; a report replaces only what is named *.html", out.display())));
    }
    let prompts = prompts(&args.place.input_path())?;
    let reasons = args.place.beside(".errors.jsonl").map(|path| reasons(&path)).unwrap_or_default();
    let page = Page { folder: folder(&journal), out: folder(&out), view: &view, prompts: &prompts, reasons: &reasons };
    let title = args.place.name().unwrap_or("batch").to_owned();
    write(&out, &page.render(&title)).map_err(|e| Failure::io("write", &out, &e))?;
    context.output.path(&out)?;
    Ok(Exit::Success)
}

/// By rename: a reader never has half of it.
fn write(path: &Path, parts: &[String]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(unnamed)?;
    for part in parts {
        file.write_all(part.as_bytes())?;
    }
    file.persist(path).map_err(|e| e.error).map(drop)
}

fn folder(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.map_or_else(|| ".".into(), Path::to_path_buf)
}

/// The line of each id in the input, and its prompt.
type Prompts = HashMap<CustomId, (u64, String)>;

/// What the input asks for under each id. Nothing if it is gone.
fn prompts(input: &Path) -> Result<Prompts, Failure> {
    let Ok(file) = File::open(input) else { return Ok(HashMap::new()) };
    let mut prompts = HashMap::new();
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let line = line.map_err(|e| Failure::io("read", input, &e))?;
        // A line that is wrong by now was right when it was sent.
        if let Ok(line) = Line::parse(number, line.trim_ascii()) {
            let prompt = line.body["prompt"].as_str().unwrap_or_default().to_owned();
            prompts.insert(line.custom_id, (number, prompt));
        }
    }
    Ok(prompts)
}

/// Why jobs have no output, in the words of the service, with the code that each is of.
type Reasons = HashMap<CustomId, ResultError>;

/// What the runs have written of it. Nothing if that is gone.
fn reasons(errors: &Path) -> Reasons {
    let text = std::fs::read_to_string(errors).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<ResultLine>(line).ok());
    lines.filter_map(|line| Some((line.custom_id, line.error?))).collect()
}

struct Page<'a> {
    /// What paths of the journal are relative to.
    folder: PathBuf,
    /// Where the page is.
    out: PathBuf,
    view: &'a View,
    prompts: &'a Prompts,
    reasons: &'a Reasons,
}

impl Page<'_> {
    fn render(&self, title: &str) -> Vec<String> {
        let mut counts = BTreeMap::<&str, u64>::new();
        let mut failures = BTreeMap::<String, Vec<&CustomId>>::new();
        let mut cards = Vec::new();
        let mut jobs: Vec<_> = self.view.lines.iter().map(|(id, last)| (id, last)).collect();
        // What is no longer in the input comes last.
        jobs.sort_by_key(|(id, _)| (self.prompts.get(id).map_or(u64::MAX, |(line, _)| *line), *id));
        for (id, last) in jobs {
            let attempt = &last.attempt;
            *counts.entry(status::state(attempt)).or_default() += 1;
            if let Some(code) = code(attempt) {
                failures.entry(code).or_default().push(id);
            }
            cards.push(self.card(id, attempt));
        }
        let spent = self.view.spent;
        let states: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {}", words(state))).collect();
        let summary = format!("{}; up to ${} spent, by estimate", states.join(", "), spent.high);
        let filter = |name: &str, text: &str, pressed: bool| {
            format!(
                "<button type=\"button\" data-filter=\"{name}\" aria-pressed=\"{pressed}\">{}</button>\n",
                escape(text)
            )
        };
        let filters = counts.keys().map(|state| filter(state, &words(state), false));
        let filters: String = std::iter::once(filter("all", "all", true)).chain(filters).collect();
        let failures: String = failures.iter().map(|(code, ids)| self.failure(code, ids)).collect();
        let failures = if failures.is_empty() { failures } else { format!("<h2>What failed</h2>\n{failures}") };

        let values =
            [("title", escape(title)), ("summary", escape(&summary)), ("failures", failures), ("filters", filters)];
        let (before, after) = PAGE.split_once("{cards}").unwrap_or((PAGE, ""));
        let mut before = before.to_owned();
        for (name, value) in values {
            before = before.replace(&format!("{{{name}}}"), &value);
        }
        let mut parts = vec![before];
        parts.extend(cards);
        parts.push(after.to_owned());
        parts
    }

    fn failure(&self, code: &str, ids: &[&CustomId]) -> String {
        let mut items = String::new();
        for id in ids {
            let (prompt, reason) = (escape(self.prompt(id)), self.reason(id, code));
            items += &format!("<li><b>{}</b> {prompt}{reason}</li>\n", escape(id.as_str()));
        }
        format!(
            "<details><summary class=\"bad\">{} ({})</summary>\n<ul>\n{items}</ul></details>\n",
            escape(code),
            ids.len()
        )
    }

    fn card(&self, custom_id: &CustomId, attempt: &Attempt) -> String {
        let state = status::state(attempt);
        let (id, prompt) = (escape(custom_id.as_str()), escape(self.prompt(custom_id)));
        let mut facts = vec![escape(&attempt.model)];
        if let State::Saved { .. } = attempt.state {
            let seconds = (attempt.at - attempt.begun).num_seconds();
            facts.push(format!("{seconds} s"));
        }
        facts.push(cost(attempt));
        let mut code = code(attempt).map_or_else(String::new, |it| {
            format!("<small class=\"bad\">{}</small>{}<br>", escape(&it), self.reason(custom_id, &it))
        });
        // Support finds the job by it.
        if let (State::InDoubt { .. }, Some(request_id)) = (&attempt.state, attempt.request_id) {
            code += &format!("<small>request id {request_id}</small><br>");
        }
        format!(
            "<li class=\"card\" data-state=\"{state}\">{}<div class=\"text\"><b>{id}</b><p>{prompt}</p>{code}<small>{}, {}</small></div></li>\n",
            self.thumb(attempt, &prompt),
            words(state),
            facts.join(", "),
        )
    }

    fn thumb(&self, attempt: &Attempt, alt: &str) -> String {
        let State::Saved { file, .. } = &attempt.state else {
            return format!("<div class=\"thumb\">{}</div>", words(status::state(attempt)));
        };
        let path = self.folder.join(&file.path);
        let inner = match thumbnail(&path) {
            Some(data) => format!("<img alt=\"{alt}\" src=\"{data}\">"),
            None => escape(path.extension().and_then(|it| it.to_str()).unwrap_or("file")),
        };
        format!("<a class=\"thumb\" href=\"{}\">{inner}</a>", self.href(&file.path))
    }

    /// Relative, so that the folder can be moved, unless the page is elsewhere.
    fn href(&self, path: &str) -> String {
        if self.folder == self.out {
            return encode(path);
        }
        let absolute = std::path::absolute(self.folder.join(path)).unwrap_or_else(|_| path.into());
        format!("file://{}", encode(&absolute.to_string_lossy()))
    }

    /// Why a job failed, if that is known of this code.
    fn reason(&self, id: &CustomId, code: &str) -> String {
        let reason = self.reasons.get(id).filter(|it| code.starts_with(&it.code));
        reason.map_or_else(String::new, |it| {
            // The id and the code stand beside it.
            let (_, message) = it.message.split_once(&format!("{}: ", it.code)).unwrap_or(("", &it.message));
            format!("<br><small>{}</small>", escape(message))
        })
    }

    fn prompt(&self, id: &CustomId) -> &str {
        self.prompts.get(id).map_or("", |(_, prompt)| prompt)
    }
}

/// Why there is no output.
fn code(attempt: &Attempt) -> Option<String> {
    match &attempt.state {
        State::Failed { code, .. } => Some(code.clone().unwrap_or_else(|| "unknown".to_owned())),
        State::NoJob(NoJob::Rejected { status, kind }) => Some(format!("{kind} ({status})")),
        State::InDoubt { .. } => Some("in doubt".to_owned()),
        _ => None,
    }
}

fn cost(attempt: &Attempt) -> String {
    let is_refunded = matches!(&attempt.state, State::Failed { code: Some(code), .. }
        if is_refunded(&GenerationFailureCode::from(code.as_str())));
    match attempt.usd {
        _ if matches!(attempt.state, State::NoJob(_)) => "not charged".to_owned(),
        _ if is_refunded => "refunded".to_owned(),
        Some(usd) => format!("${usd}"),
        None => "price unknown".to_owned(),
    }
}

fn words(state: &str) -> String {
    state.replace('_', " ")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // They would take part in the page's placeholders.
            '{' => escaped.push_str("&#123;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A path in a URL.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_wrote_is_text_in_the_page() {
        assert_eq!(escape("<script>\"'&{title}"), "&lt;script&gt;&quot;&#39;&amp;&#123;title}");
        assert_eq!(encode("out/a b\"#?.png"), "out/a%20b%22%23%3F.png");
    }

    #[test]
    fn the_page_needs_nothing_else() {
        assert!(PAGE.contains("default-src 'none'"));
        assert!(!PAGE.contains("http:") && !PAGE.contains("https:"));
    }
}
