//! The requests of the facade and their responses, checked against the document.

use httpmock::MockServer;
use luma_agents::{
    Client,
    mock::MockServerExt as _,
    types::{
        CreateFile, CreateFileResponse, CreateGeneration, FilePurpose, FileState, GenerationType, LayeringOptions,
        LayeringResolution,
    },
};
use serde_json::Value;
use uuid::{Uuid, uuid};

use crate::support::{
    contract_check::{Exchange, assert_conforms, problems},
    document::examples,
    recorder::Recorder,
};

const GENERATION: Uuid = uuid!("d290f1ee-6c54-4b01-90e6-d701748f0851");
const FILE: Uuid = uuid!("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa");

/// An example from the document.
fn example<T: serde::de::DeserializeOwned>(place: &str) -> T {
    let examples = examples();
    let example = examples.iter().find(|it| it.place == place).unwrap_or_else(|| panic!("no example `{place}`"));
    serde_json::from_value(example.value.clone()).unwrap()
}

async fn mock_api() -> (MockServer, Recorder, Client) {
    let server = MockServer::start_async().await;
    let recorder = Recorder::in_front_of(server.base_url()).await;
    let client = recorder.client();
    (server, recorder, client)
}

#[tokio::test]
async fn every_kind_of_generation_is_submitted_as_documented() {
    let (server, recorder, luma) = mock_api().await;
    server.create_generation(|_, then| {
        then.created(&example("create_generation, 201, application/json, accepted"));
    });
    let mut count = 0;
    for example in examples().iter().filter(|it| it.place.starts_with("create_generation, request")) {
        let request: CreateGeneration = serde_json::from_value(example.value.clone()).unwrap();
        luma.generations().create(request).await.unwrap();
        count += 1;
        let exchanges = recorder.exchanges();
        let sent: Value = serde_json::from_slice(&exchanges.last().unwrap().request_body).unwrap();
        assert_eq!(super::wire::canonical(&sent), super::wire::canonical(example.value), "{}", example.place);
    }
    let built = CreateGeneration::builder()
        .type_(GenerationType::Layering)
        .prompt("separate the car")
        .layering(LayeringOptions::builder().resolution(LayeringResolution::Resolution2k));
    luma.generations().create(built).await.unwrap();
    assert_eq!(recorder.exchanges().len(), count + 1);
    assert_conforms(&recorder.exchanges());
}

#[tokio::test]
async fn generations_are_read_as_documented() {
    let (server, recorder, luma) = mock_api().await;
    server.get_generation(|when, then| {
        when.generation_id(&GENERATION);
        then.ok(&example("get_generation, 200, application/json, failed"));
    });
    luma.generations().get(GENERATION).await.unwrap();
    assert_conforms(&recorder.exchanges());
}

#[tokio::test]
async fn files_are_handled_as_documented() {
    let (server, recorder, luma) = mock_api().await;
    server.create_file(|_, then| {
        then.ok(&example("create_file, 200, application/json, presigned"));
    });
    server.list_files(|_, then| {
        then.ok(&example("list_files, 200, application/json, page"));
    });
    server.get_file(|_, then| {
        then.unauthorized(&example("response Unauthorized, application/json, revoked"));
    });
    server.complete_file(|_, then| {
        then.ok(&example("complete_file, 200, application/json, pending"));
    });
    server.delete_file(|_, then| {
        then.no_content();
    });
    let files = luma.files();
    files.create(CreateFile::builder().mime_type("image/png").size_bytes(1_048_576)).await.unwrap();
    files.list().purpose(FilePurpose::Input).state(FileState::Ready).limit(100).cursor("a b&c=d").page().await.unwrap();
    files.list().page().await.unwrap();
    files.get(FILE).await.unwrap_err();
    files.complete(FILE).await.unwrap();
    files.delete(FILE).await.unwrap();
    assert_eq!(recorder.exchanges().len(), 6);
    assert_conforms(&recorder.exchanges());
}

#[tokio::test]
async fn a_form_is_sent_as_documented() {
    let (server, recorder, luma) = mock_api().await;
    let response: CreateFileResponse = example("create_file, 200, application/json, inline");
    server.mock(|when, then| {
        when.method("POST").path("/files");
        then.status(200).header("content-type", "application/json").json_body_obj(&response);
    });
    server.get_file(|when, then| {
        when.file_id(&response.id);
        let mut file = response.file;
        file.state = FileState::Ready;
        then.ok(&file);
    });
    luma.files()
        .upload(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec())
        .purpose(FilePurpose::Reference)
        .filename("style.png")
        .user_id("user-7f3a")
        .await
        .unwrap();
    let sent = recorder.exchanges();
    assert!(sent[0].request_headers["content-type"].to_str().unwrap().starts_with("multipart/form-data"));
    assert_conforms(&sent);
}

type Damage = fn(&mut Exchange);

#[tokio::test]
async fn the_contract_check_reports_every_kind_of_violation() {
    let (server, recorder, luma) = mock_api().await;
    server.get_generation(|_, then| {
        then.ok(&example("get_generation, 200, application/json, queued"));
    });
    luma.generations().get(GENERATION).await.unwrap();
    let good = recorder.exchanges().remove(0);
    assert_eq!(problems(&good), Vec::<String>::new());
    let violations: [(&str, Damage); 11] = [
        ("no such operation", |it| it.path = "/generation".to_owned()),
        ("no such operation", |it| it.method = http::Method::DELETE),
        ("generation_id: \"1\" is not a \"uuid\"", |it| it.path = "/generations/1".to_owned()),
        ("`verbose` is no parameter in the query", |it| it.query = "verbose=1".to_owned()),
        ("no `Authorization", |it| drop(it.request_headers.remove("authorization"))),
        ("`api-version` is not in the document", |it| {
            it.request_headers.insert("api-version", "1".parse().unwrap());
        }),
        ("there is a body", |it| it.request_body = b"{}".to_vec()),
        ("418 I'm a teapot is not in the document", |it| it.status = http::StatusCode::IM_A_TEAPOT),
        ("no header `Retry-After`", |it| {
            it.response_headers.insert("retry-after", "1".parse().unwrap());
        }),
        ("is `text/html`", |it| {
            it.response_headers.insert("content-type", "text/html".parse().unwrap());
        }),
        ("\"state\" is a required property", |it| {
            let mut body: Value = serde_json::from_slice(&it.response_body).unwrap();
            body.as_object_mut().unwrap().remove("state");
            it.response_body = body.to_string().into();
        }),
    ];
    for (expected, damage) in violations {
        let mut bad = good.clone();
        damage(&mut bad);
        let found = problems(&bad).join("\n");
        assert!(found.contains(expected), "expected {expected}, found {found}");
    }
}
