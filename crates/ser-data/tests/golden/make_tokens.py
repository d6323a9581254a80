#!/usr/bin/env python3
"""Writes two small tokenizer folders and tokens.json: what Hugging Face transformers makes of texts and conversations.

    pip install transformers==5.23.0 tokenizers jinja2   (no torch needed)
    python make_tokens.py

`byte_level` is of the GPT-2 and Qwen kind: no special token by itself, a chat template in a file of its own, special
tokens as objects. `byte_fallback` is of the Llama 2 kind: a prepended space, bytes for unknown characters, BOS before every
text, a chat template within tokenizer_config.json.
"""
import json
import pathlib
import shutil

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).parent

CORPUS = [
    "The kettle whistles when the water boils, and the tea is poured a minute later.",
    "Why does bread rise? Because yeast eats sugar and breathes out gas that lifts the dough.",
    "Question: What is the tallest mountain? Answer: Measured from the sea, it is Mount Everest.",
    "Human: Can you help me write a letter? Assistant: Of course! Who is it for, and what should it say?",
    "I don't know; nobody does. We can't be sure, and they won't tell us. It's what she'd said they'd do.",
] * 3

CHATML = """{%- for message in messages %}
    {%- if loop.first and messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system_message = messages[0]['content'] %}
{% else %}
{% set loop_messages = messages %}
{% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if loop.index0 == 0 and system_message != false %}
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
{% else %}
{% set content = message['content'] %}
{% endif %}
{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{ ' ' + content.strip() + ' ' + eos_token }}
{%- endif %}
{% endfor %}
"""

# Features that published templates use, one at a time.
TEMPLATES = {
    "reversed with namespace": (
        "{%- set ns = namespace(last=-1, found=false) %}"
        "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
        "{%- if not ns.found and message.role == 'user' and message.content is string %}"
        "{%- set ns.found = true %}{%- set ns.last = index %}{%- endif %}{%- endfor %}"
        "{%- for message in messages %}{{ loop.index0 }}{{ '*' if loop.index0 == ns.last else '' }}:"
        "{{ message.content.split('\\n')[-1].lstrip() }}|{%- endfor %}"
    ),
    "thinking left out": (
        "{{ bos_token }}{% for m in messages %}{% set content = m['content'] %}"
        "{% if m['role'] == 'assistant' and '</think>' in content %}"
        "{% set content = content.split('</think>')[-1].strip() %}{% endif %}"
        "{{ m['role'] | capitalize }}: {{ content | trim }}{{ '\\n' if not loop.last }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% endif %}"
    ),
    "json, macros and tests": (
        "{% macro show(m, end='') %}{{ m | tojson }}{{ end }}{% endmacro %}"
        "{% for m in messages %}{{ show(m, end='\\n') }}{% endfor %}{{ messages[0] | tojson(indent=2) }}"
        "{% if tools is defined and tools is not none %}tools{% endif %}{% if not documents %}!{% endif %}"
        "{% if foo is not defined %}?{% endif %}{{ messages | map(attribute='role') | join(', ') }}"
    ),
    "generation marks and breaks": (
        "{% for m in messages %}\n  {% if m.role == 'assistant' %}\n    {% generation %}\n{{ m.content }}"
        "{% endgeneration %}\n  {% else %}\n{{ m.content.upper() }}\n  {% endif %}\n"
        "{% if loop.index >= 3 %}{% break %}{% endif %}{% endfor %}\nend\n"
    ),
    "selection and whitespace": (
        "{% set system = messages | selectattr('role', 'equalto', 'system') | list %}\n"
        "{% if system %}\n<{{ system[0].content | upper }}>\n{% endif %}\n"
        "{% for m in messages if m.role != 'system' %}\n"
        "  {{ '%s>' | format(m.role) }} {{ m.content | replace('\\n', ' ') }}  {#- a comment -#}\n"
        "{{ '' if loop.last else ' /' }}{{ loop.cycle('a', 'b') }}\n{% endfor %}\n"
        "{{ {'a': 1, 'b': [1, 2.5, none, true]} | tojson }} {{ 7 // 2 }} {{ 'x' ~ 3 }} {{ range(3) | list | length }}"
        " {{ messages[0].get('name', 'nobody') }} {{ (messages | first).items() | list | length }}"
    ),
}

TEXTS = [
    "",
    "Why does bread rise?",
    " two  spaces\n\nand lines\t",
    "\n\nHuman: Can you help me?\n\nAssistant: Of course!",
    "caf\u00e9 na\u00efve \u4f60\u597d \U0001f600 \u200b",
    "It's 3.14 <s> inside</s> <|im_end|>",
]

CHATS = [
    [("user", "Why does bread rise?"), ("assistant", "Because of yeast.")],
    [("system", "Be kind."), ("user", " Can you help me?\n"), ("assistant", "Of course! <b>&'\"")],
    [("user", "Hi"), ("assistant", "<think>\nhm\n</think>\n\nHello."), ("user", "Why?\nTell me."), ("assistant", "So \u4f60\u597d.")],
]


def byte_level(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"]))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    # Both must be ignored unless asked for.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(pad_id=0, pad_token="<|endoftext|>")
    tokenizer.save(str(folder / "tokenizer.json"))
    token = lambda content: {"content": content, "lstrip": False, "normalized": False, "rstrip": False,
                             "single_word": False, "__type": "AddedToken"}
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": token("<|im_end|>"),
        "pad_token": token("<|endoftext|>"), "bos_token": None})
    (folder / "chat_template.jinja").write_text(CHATML)


def byte_fallback(folder):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=480, show_progress=False, max_token_length=8,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    content = json.loads(tokenizer.to_str())
    # The byte tokens are ordinary ones.
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["content"].startswith("<0x")]
    write(folder / "tokenizer.json", content)
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "add_eos_token": True,  # transformers 5 ignores both
        "unk_token": "<unk>", "chat_template": LLAMA2})
    write(folder / "special_tokens_map.json", {"bos_token": {"content": "<s>"}, "eos_token": "</s>"})


def write(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def ids(tokenizer, messages, **more):
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **more)["input_ids"])


def main():
    golden = {}
    for make in (byte_level, byte_fallback):
        folder = HERE / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        make(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        plain = {"padding": False, "truncation": False}
        texts = [{"text": text, "ids": tokenizer(text, **plain)["input_ids"],
                  "bare": tokenizer(text, add_special_tokens=False, **plain)["input_ids"]} for text in TEXTS]
        for case in texts:
            case["decoded"] = tokenizer.decode(case["ids"], skip_special_tokens=True,
                                               clean_up_tokenization_spaces=False)
        chats = []
        for name, template in [("own", None), *TEMPLATES.items()]:
            for turns in CHATS:
                messages = [{"role": role, "content": content} for role, content in turns]
                case = {"name": name, "template": template, "messages": messages,
                        "text": tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False),
                        "ids": ids(tokenizer, messages, chat_template=template)}
                if name == "own" and messages[-1]["role"] == "assistant":
                    case["prompt_ids"] = ids(tokenizer, messages[:-1], add_generation_prompt=True)
                chats.append(case)
        golden[make.__name__] = {
            "bos_id": tokenizer.bos_token_id, "eos_id": tokenizer.eos_token_id, "length": len(tokenizer),
            "texts": texts, "chats": chats}
    write(HERE / "tokens.json", golden)


if __name__ == "__main__":
    main()
