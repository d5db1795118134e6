//! The emulator on documents that have changed: what `openapi.yaml` gains, it has without another edit.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Emulator, document::Document};

/// A change of the document.
type Change = fn(&mut Value);

const HTTPS: &str = "https://example.com/a.png";

struct Server {
    emulator: Emulator,
    http: reqwest::Client,
}

async fn server(changes: &[Change]) -> Server {
    Server { emulator: emulator(changes).await, http: reqwest::Client::new() }
}

/// An emulator on the document with these changes.
async fn emulator(changes: &[Change]) -> Emulator {
    let mut source = built_in();
    for change in changes {
        change(&mut source);
    }
    let document = Document::new(source, false).expect("a document");
    Emulator::builder().start_with(Arc::new(document)).await.expect("an emulator")
}

fn built_in() -> Value {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/document.json"))).expect("JSON")
}

impl Server {
    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.http.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.base_url())
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.bearer_auth(self.emulator.api_key()).send().await.expect("a response");
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }
}

/// The status before and after a change.
async fn check(path: &str, rows: &[(Change, Value, u16, u16)]) {
    let before = server(&[]).await;
    for (change, request, status_before, status_after) in rows {
        let (status, reply) = before.post(path, request).await;
        assert_eq!(status, *status_before, "before: {request}: {reply}");
        let after = Server { emulator: emulator(&[*change]).await, http: before.http.clone() };
        let (status, reply) = after.post(path, request).await;
        assert_eq!(status, *status_after, "after: {request}: {reply}");
    }
}

fn schemas(document: &mut Value) -> &mut Value {
    &mut document["components"]["schemas"]
}

fn field<'a>(document: &'a mut Value, schema: &str, name: &str) -> &'a mut Value {
    &mut schemas(document)[schema]["properties"][name]
}

fn push(list: &mut Value, value: Value) {
    list.as_array_mut().expect("a list").push(value);
}

fn image(field: &str, value: Value) -> Value {
    let mut request = json!({ "prompt": "p" });
    request[field] = value;
    request
}

fn video(options: Value) -> Value {
    let mut request = json!({ "prompt": "p", "type": "video", "model": "ray-3.2" });
    request["video"] = options;
    request
}

#[tokio::test]
async fn a_new_field_is_accepted_with_its_type_only() {
    let seed: Change = |it| *field(it, "CreateGeneration", "seed") = json!({ "type": "integer", "nullable": true });
    let nested: Change = |it| *field(it, "VideoOptions", "fps") = json!({ "type": "integer", "maximum": 60 });
    let in_choice: Change = |it| *field(it, "UrlRef", "weight") = json!({ "type": "number", "maximum": 1 });
    let object: Change = |it| {
        schemas(it)["Camera"] = json!({ "type": "object", "properties": { "zoom": { "type": "number" } } });
        *field(it, "CreateGeneration", "camera") = json!({ "$ref": "#/components/schemas/Camera" });
    };
    let with = |weight: Value| image("image_ref", json!([{ "url": HTTPS, "weight": weight }]));
    check(
        "/generations",
        &[
            (seed, image("seed", json!(7)), 422, 201),
            (seed, image("seed", json!(null)), 422, 201),
            (seed, image("seed", json!("x")), 422, 422),
            (seed, image("seed", json!(7.5)), 422, 422),
            (nested, video(json!({ "fps": 24 })), 422, 201),
            (nested, video(json!({ "fps": 61 })), 422, 422),
            (in_choice, with(json!(0.5)), 422, 201),
            (in_choice, with(json!(2)), 422, 422),
            (in_choice, image("image_ref", json!([{ "generation_id": HTTPS, "weight": 1 }])), 422, 422),
            (object, image("camera", json!({ "zoom": 2 })), 422, 201),
            (object, image("camera", json!({ "pan": 2 })), 422, 422),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_value_of_a_new_field_is_named() {
    let server = server(&[|it| *field(it, "UrlRef", "weight") = json!({ "type": "number" })]).await;
    let request = image("image_ref", json!([{ "url": HTTPS }, { "url": HTTPS, "weight": "x" }]));
    let (_, reply) = server.post("/generations", &request).await;
    assert_eq!(reply["detail"][0]["loc"], json!(["body", "image_ref", 1, "weight"]));
    assert_eq!(reply["detail"][0]["msg"], "Input is not of types \"null\", \"number\"");
}

#[tokio::test]
async fn a_new_value_is_accepted() {
    let model: Change = |it| push(&mut schemas(it)["Model"]["enum"], json!("uni-2"));
    let kind: Change = |it| push(&mut schemas(it)["GenerationType"]["enum"], json!("audio"));
    let ratio: Change = |it| push(&mut schemas(it)["AspectRatio"]["enum"], json!("5:4"));
    let style: Change = |it| push(&mut schemas(it)["Style"]["enum"], json!("oil"));
    let duration: Change = |it| {
        push(&mut schemas(it)["VideoDuration"]["enum"], json!("20s"));
        field(it, "VideoOptions", "keyframe_indexes")["items"]["maximum"] = json!(480);
    };
    let keyframe =
        |at: u32| video(json!({ "duration": "20s", "keyframes": [{ "url": HTTPS }], "keyframe_indexes": [at] }));
    let of = |kind: &str, model: &str| json!({ "prompt": "p", "type": kind, "model": model });
    check(
        "/generations",
        &[
            (model, of("image", "uni-2"), 400, 201),
            (model, of("video", "uni-2"), 400, 201),
            (model, of("image", "uni-3"), 400, 400),
            (model, of("video", "uni-1"), 400, 400),
            (kind, of("audio", "uni-1"), 422, 201),
            (kind, json!({ "prompt": "p", "type": "audio", "source": { "url": HTTPS } }), 422, 201),
            (kind, json!({ "prompt": "p", "type": "audio", "source": { "url": "http://a/b" } }), 422, 422),
            (kind, json!({ "prompt": "p", "type": "audio", "source": {} }), 422, 400),
            (ratio, image("aspect_ratio", json!("5:4")), 400, 201),
            (ratio, image("aspect_ratio", json!("4:3")), 400, 400),
            (style, image("style", json!("oil")), 422, 201),
            (duration, keyframe(480), 422, 201),
            (duration, keyframe(481), 422, 422),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_new_way_to_refer_to_media_is_accepted() {
    let asset: Change = |it| {
        let fields = json!({ "asset_id": { "type": "string", "maxLength": 3 } });
        let object = json!({ "type": "object", "additionalProperties": false, "required": ["asset_id"] });
        schemas(it)["AssetRef"] = object;
        schemas(it)["AssetRef"]["properties"] = fields;
        push(&mut schemas(it)["MediaRef"]["oneOf"], json!({ "$ref": "#/components/schemas/AssetRef" }));
    };
    check(
        "/generations",
        &[
            (asset, image("image_ref", json!([{ "asset_id": "a" }])), 422, 201),
            (asset, image("image_ref", json!([{ "asset_id": "abcd" }])), 422, 422),
            (asset, image("image_ref", json!([{ "asset_id": "a", "url": HTTPS }])), 422, 422),
            (asset, image("image_ref", json!([{ "media_type": "image/png" }])), 400, 400),
            (asset, image("image_ref", json!([{ "url": HTTPS }])), 201, 201),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_new_limit_is_enforced() {
    let prompt: Change = |it| field(it, "CreateGeneration", "prompt")["maxLength"] = json!(100);
    let user: Change = |it| field(it, "CreateGeneration", "user_id")["maxLength"] = json!(3);
    let fewer: Change = |it| field(it, "CreateGeneration", "image_ref")["maxItems"] = json!(2);
    let more: Change = |it| field(it, "CreateGeneration", "image_ref")["maxItems"] = json!(12);
    let keyframes: Change = |it| field(it, "VideoOptions", "keyframes")["maxItems"] = json!(1);
    let blur: Change = |it| field(it, "DepthControl", "blur")["maximum"] = json!(0.5);
    let open: Change = |it| field(it, "DepthControl", "blur")["exclusiveMaximum"] = json!(true);
    let pattern: Change = |it| field(it, "CreateGeneration", "prompt")["pattern"] = json!("^a");
    let ratio: Change = |it| schemas(it)["AspectRatio"]["enum"] = json!(["1:1"]);
    let model: Change = |it| schemas(it)["Model"]["enum"] = json!(["uni-1"]);
    let not_null: Change = |it| field(it, "CreateGeneration", "user_id")["nullable"] = json!(false);
    let required: Change = |it| push(&mut schemas(it)["CreateGeneration"]["required"], json!("user_id"));
    let media_type: Change = |it| push(&mut schemas(it)["UrlRef"]["required"], json!("media_type"));
    let references = |count| image("image_ref", json!(vec![json!({ "url": HTTPS }); count]));
    let two = json!({ "keyframes": [{ "url": HTTPS }, { "url": HTTPS }], "keyframe_indexes": [0, 1] });
    let edit = |blur: f64| {
        json!({ "prompt": "p", "type": "video_edit", "model": "ray-3.2",
            "source": { "url": HTTPS, "media_type": "video/mp4" },
            "video": { "edit": { "controls": { "depth": { "blur": blur } } } } })
    };
    check(
        "/generations",
        &[
            (prompt, json!({ "prompt": "p".repeat(100) }), 201, 201),
            (prompt, json!({ "prompt": "p".repeat(101) }), 201, 400),
            (user, image("user_id", json!("abcd")), 201, 422),
            (fewer, references(3), 201, 400),
            (more, references(12), 400, 201),
            (more, references(13), 400, 400),
            (keyframes, video(two), 201, 422),
            (blur, edit(0.75), 201, 422),
            (open, edit(1.0), 201, 422),
            (open, edit(0.9), 201, 201),
            (pattern, json!({ "prompt": "b" }), 201, 422),
            (ratio, image("aspect_ratio", json!("3:2")), 201, 400),
            (model, image("model", json!("uni-1-max")), 201, 400),
            (not_null, image("user_id", json!(null)), 201, 422),
            (required, json!({ "prompt": "p" }), 201, 422),
            (media_type, references(1), 201, 422),
        ],
    )
    .await;

    let server = server(&[prompt]).await;
    let (_, reply) = server.post("/generations", &json!({ "prompt": "p".repeat(101) })).await;
    assert_eq!(reply["detail"], "Prompt must be between 1 and 100 characters", "the documented text, with the limit");
}

#[tokio::test]
async fn a_change_of_files_is_enforced() {
    let label: Change = |it| *field(it, "CreateFile", "label") = json!({ "type": "string" });
    let small: Change = |it| field(it, "CreateFile", "size_bytes")["maximum"] = json!(10);
    let composed: Change = |it| {
        let base = schemas(it)["CreateFile"].take();
        schemas(it)["Announcement"] = base;
        let label = json!({ "type": "object", "properties": { "label": { "type": "string" } } });
        schemas(it)["CreateFile"] = json!({ "allOf": [{ "$ref": "#/components/schemas/Announcement" }, label] });
    };
    let file = |field: &str, value: Value| json!({ "mime_type": "image/png", "size_bytes": 1, field: value });
    check(
        "/files",
        &[
            (label, file("label", json!("a")), 422, 201),
            (label, file("label", json!(1)), 422, 422),
            (small, file("size_bytes", json!(11)), 201, 422),
            (composed, file("label", json!("a")), 422, 201),
            (composed, file("label", json!(1)), 422, 422),
            (composed, file("tag", json!("a")), 422, 422),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_change_of_a_query_or_a_form_is_enforced() {
    let changes: [Change; 4] = [
        |it| {
            let parameters = &mut it["paths"]["/files"]["get"]["parameters"];
            let limit = parameters.as_array_mut().expect("a list").iter_mut().find(|it| it["name"] == "limit");
            limit.expect("a limit")["schema"]["maximum"] = json!(10);
            let order = json!({ "type": "string", "enum": ["asc", "desc"] });
            push(parameters, json!({ "name": "order", "in": "query", "schema": order }));
            let sizes = json!({ "type": "array", "items": { "type": "integer" } });
            push(parameters, json!({ "name": "size", "in": "query", "schema": sizes }));
        },
        |it| {
            let since = json!({ "name": "since", "in": "query", "required": true, "schema": { "type": "integer" } });
            it["paths"]["/files/{file_id}"]["get"]["parameters"] = json!([since]);
        },
        |it| *field(it, "CreateFileMultipart", "public") = json!({ "type": "boolean" }),
        |it| field(it, "CreateFileMultipart", "user_id")["maxLength"] = json!(3),
    ];
    let (before, after) = (server(&[]).await, server(&changes).await);
    for (query, status_before, status_after) in [
        ("", 200, 200),
        ("?limit=11", 200, 422),
        ("?limit=+5", 422, 422),
        ("?order=asc", 422, 200),
        ("?order=up", 422, 422),
        ("?size=1&size=2", 422, 200),
        ("?size=1&size=x", 422, 422),
        ("/d290f1ee-6c54-4b01-90e6-d701748f0851", 404, 422),
        ("/d290f1ee-6c54-4b01-90e6-d701748f0851?since=1", 422, 404),
    ] {
        let path = format!("/files{query}");
        assert_eq!(before.get(&path).await.0, status_before, "before: {path}");
        assert_eq!(after.get(&path).await.0, status_after, "after: {path}");
    }
    for (name, value, status_before, status_after) in
        [("public", "true", 422, 201), ("public", "yes", 422, 422), ("user_id", "abcd", 201, 422)]
    {
        for (server, expected) in [(&before, status_before), (&after, status_after)] {
            let part = reqwest::multipart::Part::bytes(b"\x89PNG\r\n\x1a\n".to_vec()).file_name("a.png");
            let form = reqwest::multipart::Form::new().part("file", part).text(name, value);
            let (status, reply) = server.send(server.http.post(server.url("/files")).multipart(form)).await;
            assert_eq!(status, expected, "{name}={value}: {reply}");
        }
    }
}

#[tokio::test]
async fn a_new_operation_replies_with_its_example() {
    let usage: Change = |it| {
        let parameter = json!({ "name": "days", "in": "query", "schema": { "type": "integer" } });
        let content =
            json!({ "application/json": { "schema": {}, "examples": { "some": { "value": { "units": 3 } } } } });
        let responses = json!({ "200": { "description": "", "content": content } });
        it["paths"]["/usage"]["get"] =
            json!({ "operationId": "get_usage", "parameters": [parameter], "responses": responses });
        let schema = json!({ "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } });
        let body = json!({ "content": { "application/json": { "schema": schema } } });
        it["paths"]["/tags"]["post"] =
            json!({ "operationId": "create_tag", "requestBody": body, "responses": { "204": { "description": "" } } });
    };
    let server = server(&[usage]).await;
    assert_eq!(server.get("/usage?days=2").await, (200, json!({ "units": 3 })));
    assert_eq!(server.get("/usage?days=two").await.0, 422);
    assert_eq!(server.post("/tags", &json!({ "name": "a" })).await.0, 204);
    assert_eq!(server.post("/tags", &json!({})).await.0, 422);
    assert_eq!(server.get("/tags").await.0, 404);
}

#[tokio::test]
async fn a_new_field_of_a_response_has_the_value_of_its_example() {
    let server = server(&[|it| {
        push(&mut schemas(it)["Generation"]["required"], json!("units"));
        *field(it, "Generation", "units") = json!({ "type": "integer" });
        schemas(it)["Generation"]["example"]["units"] = json!(3);
    }])
    .await;
    let (_, reply) = server.post("/generations", &json!({ "prompt": "p" })).await;
    assert_eq!((&reply["units"], &reply["state"]), (&json!(3), &json!("queued")));
}

#[test]
fn a_document_that_makes_no_sense_is_an_error_that_names_the_operation() {
    let mut source = built_in();
    *field(&mut source, "CreateFile", "filename") = json!({ "type": "string", "pattern": "(" });
    let error = Document::new(source, false).err().expect("an error");
    assert!(error.starts_with("create_file: "), "{error}");
}
