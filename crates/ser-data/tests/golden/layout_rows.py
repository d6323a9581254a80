"""The rows of make_layouts.py: one function per layout, which returns row `i` and its pairs."""

import json

WORDS = "tea coffee rain light stone river paper engine garden letter window music".split()


def text(i, k):
    """A few words that depend on i and k; some with characters that formats trip over."""
    words = [WORDS[(i * 7 + k * 3 + j * 5) % len(WORDS)] for j in range(3 + (i + k) % 4)]
    return " ".join(words) + ["", ".", ' "quoted"', " naïve 猫", "\nnew line"][(i + k) % 5]


def user(content):
    return {"content": content, "role": "user"}


def assistant(content):
    return {"content": content, "role": "assistant"}


def hh_rlhf(i):
    start = f"\n\nHuman: {text(i, 0)}\n\nAssistant: {text(i, 1)}\n\nHuman: {text(i, 2)}\n\nAssistant:"
    row = {"chosen": f"{start} {text(i, 3)}", "rejected": f"{start} {text(i, 4)}"}
    return row, [([text(i, 0), text(i, 1), text(i, 2)], text(i, 3), text(i, 4), None)]


def ultrafeedback_binarized(i):
    prompt, a, b = text(i, 0), text(i, 1), text(i, 2)
    scores = (8.0, 8.0 if i % 4 == 3 else 6.5)
    row = {
        "prompt": prompt,
        "prompt_id": f"{i:064x}",
        "chosen": [user(prompt), assistant(a)],
        "rejected": [user(prompt), assistant(b)],
        "messages": [user(prompt), assistant(a)],
        "score_chosen": scores[0],
        "score_rejected": scores[1],
    }
    return row, [] if scores[0] == scores[1] else [([prompt], a, b, None, scores[0] - scores[1])]


def ultrafeedback(i):
    scores = [5.0, 7.5, 5.0, 8.5 - i]
    answers = [text(i, 1 + k) for k in range(4)]
    completions = [
        {
            "annotations": {"helpfulness": {"Rating": "4", "Rationale": "fine"}},
            "critique": "fine",
            "fine-grained_score": score - 1,
            "model": f"model-{k}",
            "overall_score": score,
            "principle": "helpfulness",
            "response": answer,
        }
        for k, (score, answer) in enumerate(zip(scores, answers))
    ]
    row = {
        "source": "evol_instruct",
        "instruction": text(i, 0),
        "models": [f"model-{k}" for k in range(4)],
        "completions": completions,
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }
    return row, scored([text(i, 0)], list(zip(answers, scores)))


def scored(prompt, answers):
    pairs = []
    for x in range(len(answers)):
        for y in range(x + 1, len(answers)):
            (a, s), (b, t) = answers[x], answers[y]
            if s > t:
                pairs.append((prompt, a, b, None, s - t))
            elif t > s:
                pairs.append((prompt, b, a, None, t - s))
    return pairs


def tldr(i):
    info = {"id": f"t3_{i}", "post": text(i, 0), "title": text(i, 1), "subreddit": "AskReddit", "site": None, "article": None}
    a, b = " " + text(i, 2), " " + text(i, 3)
    row = {
        "info": info,
        "summaries": [{"text": a, "policy": "sup2", "note": None}, {"text": b, "policy": "ref", "note": "ok"}],
        "choice": i % 2,
        "worker": "w",
        "batch": "batch3",
        "split": "train",
        "extra": {"confidence": 7},
    }
    prompt = f"SUBREDDIT: r/AskReddit\nTITLE: {text(i, 1)}\nPOST: {text(i, 0)}\nTL;DR:"
    return row, [([prompt], a, b, None) if i % 2 == 0 else ([prompt], b, a, None)]


def stack_exchange(i):
    scores = [0, 3 + i, 1, 0][: 2 + i % 3]
    answers = [
        {
            "answer_id": 100 * i + k,
            "author": "a",
            "author_id": k,
            "author_profile": "https://stackexchange.com/users/1",
            "pm_score": score,
            "selected": k == 1,
            "text": f"<p>Use <code>x &lt; {k}</code>:</p>\n\n<pre><code>if x:\n    y({i})\n</code></pre>\n",
        }
        for k, score in enumerate(scores)
    ]
    row = {
        "qid": i,
        "question": f"<p>What is <em>question</em> {i} &amp; why?</p>\n",
        "answers": answers,
        "date": "2012/05/04",
        "metadata": ["https://ai.stackexchange.com/questions/1", "https://ai.stackexchange.com"],
    }
    plain = [(f"Use x < {k}:\n\nif x:\n    y({i})", float(score)) for k, score in enumerate(scores)]
    return row, scored([f"What is question {i} & why?"], plain)


def stack_exchange_paired(i):
    row = {
        "qid": i,
        "question": text(i, 0),
        "date": "2012/05/04",
        "metadata": ["https://ai.stackexchange.com"],
        "response_j": text(i, 1),
        "response_k": text(i, 2),
    }
    return row, [([text(i, 0)], text(i, 1), text(i, 2), None)]


def trl_margin(i):
    row = {
        "prompt": [{"content": "Be kind.", "role": "system"}, user(text(i, 0))],
        "chosen": [assistant(text(i, 1))],
        "rejected": [assistant(text(i, 2))],
        "margin": None if i == 2 else i / 2,
    }
    return row, [(["Be kind.", text(i, 0)], text(i, 1), text(i, 2), row["margin"])]


def trl_implicit(i):
    start = [user(text(i, 0)), assistant(text(i, 1)), user(text(i, 2))]
    row = {"chosen": start + [assistant(text(i, 3))], "rejected": start + [assistant(text(i, 4))]}
    return row, [([text(i, 0), text(i, 1), text(i, 2)], text(i, 3), text(i, 4), None)]


def llama_factory(i):
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": text(i, 0)}]
    row = {
        "conversations": turns[1 - i % 2 :],
        "chosen": {"from": "gpt", "value": text(i, 1)},
        "rejected": {"from": "gpt", "value": text(i, 2)},
    }
    prompt = ["Be kind."] * (i % 2) + [text(i, 0)]
    return row, [(prompt, text(i, 1), text(i, 2), None)]


def pandalm(i):
    votes = [(1, 1, 2), (2, 2, 2), (0, 1, 2), (0, 0, 1)][i % 4]
    a, b = text(i, 2), "" if i == 1 else text(i, 3)
    row = {
        "idx": i,
        "motivation_app": "Grammarly",
        "cmp_key": "bloom-7b_llama-7b",
        "instruction": text(i, 0),
        "input": text(i, 1) if i % 2 else "",
        "response1": a,
        "response2": b,
        "annotator1": votes[0],
        "annotator2": votes[1],
        "annotator3": votes[2],
    }
    prompt = f"{text(i, 0)}\n\n{text(i, 1)}" if i % 2 else text(i, 0)
    return row, {0: [([prompt], a, b, None)], 1: [([prompt], b, a, None)]}.get(i % 4, [])


def autoj(i):
    a, b = text(i, 1), text(i, 2)
    row = {"scenario": "s", "label": i % 3, "prompt": text(i, 0), "response 1": a, "response 2": b}
    return row, [[([text(i, 0)], a, b, None)], [([text(i, 0)], b, a, None)], []][i % 3]


def reward_bench(i):
    row = {
        "prompt": text(i, 0),
        "chosen": text(i, 1),
        "chosen_model": "m",
        "rejected": text(i, 2),
        "rejected_model": "n",
        "subset": "alpacaeval-easy",
        "id": i,
    }
    return row, [([text(i, 0)], text(i, 1), text(i, 2), None)]


def reward_bench_2(i):
    chosen, rejected = [text(i, 1)], [text(i, k) for k in (2, 3, 4)]
    row = {
        "id": str(i),
        "prompt": text(i, 0),
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": 1,
        "num_incorrect": 3,
        "total_completions": 4,
        "models": ["m"] * 4,
        "subset": "Math",
        "additional_metadata": {"category": None, "valid": 1.0},
    }
    return row, [([text(i, 0)], a, b, None) for a in chosen for b in rejected]


def shp(i):
    a, b = text(i, 1), text(i, 2)
    scores = (20 + i, 3) if i % 2 else (3, 20 + i)
    row = {
        "post_id": f"p{i}",
        "domain": "askculinary_train",
        "upvote_ratio": 0.98,
        "history": text(i, 0),
        "c_root_id_A": "a",
        "c_root_id_B": "b",
        "created_at_utc_A": 1,
        "created_at_utc_B": 2,
        "score_A": scores[0],
        "score_B": scores[1],
        "human_ref_A": a,
        "human_ref_B": b,
        "labels": i % 2,
        "seconds_difference": 1.0,
        "score_ratio": 2.0,
    }
    gap = float(abs(scores[0] - scores[1]))
    return row, [([text(i, 0)], a, b, None, gap) if i % 2 else ([text(i, 0)], b, a, None, gap)]


def help_steer_2(i):
    a, b, strength = text(i, 1), text(i, 2), [-3, 0, 1, 2, -1][i]
    prompt = [text(i, 0)] if i % 2 else [text(i, 0), text(i, 3), text(i, 4)]
    row = {
        "split": "train",
        "prompt": prompt[0] if i % 2 else f"{prompt[0]}\n<extra_id_1>Assistant\n{prompt[1]}\n<extra_id_1>User\n{prompt[2]}",
        "response_1": a,
        "response_2": b,
        "preference_strength": strength,
        "preference_statement": "Response 1 is better.",
        "preference_elaboration": "It is.",
        "three_most_similar_preferences": [{"statement": "s", "elaboration": "e", "strength": strength}],
    }
    gap = float(abs(strength))
    return row, [] if not strength else [(prompt, b, a, None, gap) if strength > 0 else (prompt, a, b, None, gap)]


def help_steer_3(i):
    a, b, strength = text(i, 1), text(i, 2), [2, -2, 0, 3, -1][i]
    row = {
        "domain": "general",
        "language": "english",
        "context": [user(text(i, 0)), assistant(text(i, 3)), user(text(i, 4))],
        "response1": a,
        "response2": b,
        "overall_preference": strength,
        "individual_preference": [{"score": strength, "reasoning": "r", "feedback1": "f", "feedback2": "f"}],
    }
    prompt, gap = [text(i, 0), text(i, 3), text(i, 4)], float(abs(strength))
    return row, [] if not strength else [(prompt, b, a, None, gap) if strength > 0 else (prompt, a, b, None, gap)]


def nectar(i):
    ranks = [2.0, 1.0, 3.0, 3.0]
    answers = [text(i, 1 + k) for k in range(4)]
    row = {
        "prompt": f"\n\nHuman: {text(i, 0).strip()}\n\nAssistant: ",
        "answers": [{"answer": a, "model": f"model-{k}", "rank": r} for k, (a, r) in enumerate(zip(answers, ranks))],
        "turns": 1,
        "num_responses": 4,
        "source": ["ultrachat"],
        "good_natured": True,
    }
    return row, scored([text(i, 0)], [(a, -r) for a, r in zip(answers, ranks)])


def pku_safe_rlhf(i):
    a, b = text(i, 1), text(i, 2)
    row = {
        "prompt": text(i, 0),
        "response_0": a,
        "response_1": b,
        "prompt_source": "BeaverTails",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "response_0_severity_level": 0,
        "better_response_id": i % 2,
        "safer_response_id": 0,
    }
    return row, [([text(i, 0)], b, a, None) if i % 2 else ([text(i, 0)], a, b, None)]


def pku_safe_rlhf_safer(i):
    row, _ = pku_safe_rlhf(i)
    return row, [([row["prompt"]], row["response_0"], row["response_1"], None)]


def webgpt(i):
    a, b, score = text(i, 1), text(i, 2), [-0.5, 0.0, 1.0, 0.25, -1.0][i]
    quotes = {"title": ["t"], "extract": ["e"]}
    row = {
        "question": {"dataset": "eli5", "id": f"{i:x}", "full_text": text(i, 0)},
        "quotes_0": quotes,
        "answer_0": a,
        "tokens_0": {"prefix": [1, 2], "completion": [3]},
        "score_0": score,
        "quotes_1": quotes,
        "answer_1": b,
        "tokens_1": {"prefix": [1, 2], "completion": [4]},
        "score_1": -score,
    }
    gap = abs(2 * score)
    return row, [] if not score else [([text(i, 0)], a, b, None, gap) if score > 0 else ([text(i, 0)], b, a, None, gap)]


def lmsys_arena(i):
    a, b, won = text(i, 1), text(i, 2), i % 3
    row = {
        "id": i,
        "model_a": "m",
        "model_b": "n",
        "prompt": json.dumps([text(i, 0)]),
        "response_a": json.dumps([a]),
        "response_b": json.dumps([b]),
        "winner_model_a": int(won == 0),
        "winner_model_b": int(won == 1),
        "winner_tie": int(won == 2),
    }
    return row, [[([text(i, 0)], a, b, None)], [([text(i, 0)], b, a, None)], []][won]


def lmsys_arena_conversations(i):
    a, b, winner = text(i, 1), text(i, 2), ["model_a", "model_b", "tie", "tie (bothbad)", "model_b"][i]
    row = {
        "question_id": f"{i:x}",
        "model_a": "m",
        "model_b": "n",
        "winner": winner,
        "judge": "arena_user_1",
        "conversation_a": [user(text(i, 0)), assistant(a)],
        "conversation_b": [user(text(i, 0)), assistant(b)],
        "turn": 1,
        "language": "English",
    }
    pairs = {"model_a": [([text(i, 0)], a, b, None)], "model_b": [([text(i, 0)], b, a, None)]}
    return row, pairs.get(winner, [])


def openai_preference(i):
    row = {
        "input": {"messages": [user(text(i, 0))], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant(text(i, 1))],
        "non_preferred_output": [assistant(text(i, 2))],
    }
    return row, [([text(i, 0)], text(i, 1), text(i, 2), None)]


def ms_swift(i):
    start = [{"content": "Be kind.", "role": "system"}, user(text(i, 0)), assistant(text(i, 3)), user(text(i, 4))]
    row = {"messages": start + [assistant(text(i, 1))], "rejected_response": text(i, 2)}
    return row, [(["Be kind.", text(i, 0), text(i, 3), text(i, 4)], text(i, 1), text(i, 2), None)]


def medical_gpt(i):
    row = {
        "system": "Be kind." if i % 2 else "",
        "history": [[text(i, 3), text(i, 4)]] if i % 2 else [],
        "question": text(i, 0),
        "response_chosen": text(i, 1),
        "response_rejected": text(i, 2),
    }
    prompt = (["Be kind.", text(i, 3), text(i, 4)] if i % 2 else []) + [text(i, 0)]
    return row, [(prompt, text(i, 1), text(i, 2), None)]


def llama_factory_outputs(i):
    row = {"instruction": text(i, 0), "input": text(i, 3) if i % 2 else "", "output": [text(i, 1), text(i, 2)]}
    prompt = f"{text(i, 0)}\n\n{text(i, 3)}" if i % 2 else text(i, 0)
    return row, [([prompt], text(i, 1), text(i, 2), None)]
