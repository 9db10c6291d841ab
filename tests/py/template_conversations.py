"""Conversations that every published template is rendered with."""

NASTY = "quotes ' \" and `, <b>&amp;</b>, tab\t, line\nbreak\r\n, {{ 7*7 }} {% raw %} {# no #}, back\\slash, "
NASTY += "ünïcödé 日本語 🦙 \u200b\u0001, <|im_end|> [INST] </s>  "

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a \"city\" <today>.\nTwo lines.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "minimum": 1}}, "required": ["city"]},
    "return": {"type": "number", "description": "degrees"}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Looks things up.", "parameters": {"type": "object", "properties": {
        "queries": {"type": "array", "items": {"type": "string"}},
        "filter": {"type": "object", "properties": {"lang": {"type": ["string", "null"]}}},
        "any": {"anyOf": [{"type": "string"}, {"type": "number"}]}}}}}
PLAIN = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {
    "type": "object", "properties": {}}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def call(name, arguments, number="123456789"):
    return {"id": f"{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


SUM = [user("What is 2+2?"), assistant("4"), user("And 3 more?")]
CALL = [user("Weather in Zürich?"),
        assistant("", tool_calls=[call("get_weather", {"city": "Zürich", "days": 2, "unit": "celsius"})]),
        {"role": "tool", "name": "get_weather", "tool_call_id": "123456789", "content": "{\"t\": 21.5}"}]

CONVERSATIONS = {
    "single": [user("Hello")],
    "system": [system("Be brief.\n"), user("Hello  ")],
    "multi": SUM,
    "system multi": [system("  You are   a pirate. ")] + SUM,
    "answered": SUM[:2],
    "nasty": [system(NASTY), user(NASTY), assistant(NASTY), user(NASTY)],
    "empty content": [user(""), assistant(""), user("x")],
    "thinking": [user("Hi"), assistant("<think>\nhmm\n</think>\n\nYes."), user("Again"),
                 assistant("<think>a</think>b</think>c"), user("ok")],
    "reasoning_content": [user("Hi"), assistant("Yes.", reasoning_content="because", thinking="why"), user("ok")],
    "parts": [system("s"), {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"},
                                                         {"type": "text", "text": "what?"}]}],
    "system parts": [{"role": "system", "content": [{"type": "text", "text": "sys"}]}, user("u")],
    "call": CALL,
    "call answered": CALL + [assistant("21.5 degrees."), user("Thanks")],
    "call string": [user("x"), assistant(None, tool_calls=[call("search", "{\"queries\": [\"a\"]}")]),
                    {"role": "tool", "tool_call_id": "123456789", "content": "nothing"}],
    "call with text": [user("x"), assistant("Let me see.", tool_calls=[call("search", {"queries": ["ä", "b'"]})]),
                       {"role": "tool", "tool_call_id": "123456789", "name": "search", "content": [
                           {"type": "text", "text": "part"}]}],
    "two calls": [system("S"), user("x"), assistant(None, tool_calls=[
        call("get_weather", {"city": "Bern"}), call("now", {}, "abcdefghi")]),
        {"role": "tool", "tool_call_id": "123456789", "name": "get_weather", "content": "cold"},
        {"role": "tool", "tool_call_id": "abcdefghi", "name": "now", "content": "12:00"}, assistant("Cold at noon.")],
    "two users": [user("a"), user("b")],
    "assistant first": [assistant("Welcome"), user("Hi")],
    "late system": [user("a"), system("b"), user("c")],
    "only system": [system("a")],
    "no messages": [],
    "other role": [{"role": "developer", "content": "d"}, user("u"), {"role": "critic", "content": "c"}],
    "missing content": [user("a"), {"role": "assistant"}, user("b")],
    "null content": [user("a"), assistant(None), user("b")],
    "missing role": [{"content": "x"}],
    "documents": [user("Read")],
}

BASE = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
        "functions": "[{\"name\": \"f\"}]", "datetime": "2024-08-01 12:00"}


def cases():
    """(name, variables)"""
    for name, messages in CONVERSATIONS.items():
        for prompt in (False, True):
            for tools in (None, [WEATHER, SEARCH, PLAIN]):
                v = dict(BASE, messages=messages, add_generation_prompt=prompt)
                if tools is None and not prompt:
                    v["tools"] = None  # transformers always passes it
                if tools:
                    v["tools"] = tools
                if name == "documents":
                    v["documents"] = [{"title": "T <1>", "text": "body\n2"}, {"title": "U", "text": "é"}]
                yield f"{name}, {'tools' if tools else 'no tools'}, {'prompt' if prompt else 'no prompt'}", v
    for extra in ({"enable_thinking": False}, {"enable_thinking": True}, {"thinking": True}, {"date_string": "1 May"},
                  {"tools_in_user_message": False}, {"builtin_tools": ["code_interpreter", "brave_search"]},
                  {"reasoning_effort": "high", "model_identity": "I am."}, {"custom_tools": [WEATHER]},
                  {"xml_tools": [WEATHER], "python_tools": [SEARCH]}, {"bos_token": None}):
        yield str(sorted(extra)), dict(BASE, messages=[system("s")] + SUM, add_generation_prompt=True, **extra)
