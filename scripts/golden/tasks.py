#!/usr/bin/env python3
"""Makes internal/tasks/testdata/golden.json with lm-evaluation-harness.

    pip install -r scripts/golden/requirements-tasks.txt
    python scripts/golden/tasks.py DATA

DATA is the folder with eval/ (see internal/testdata); with internal/tasks/testdata/own
and --own the golden of the few items written for this project is made, golden-own.json.
The tasks are those of
the harness, but for where the documents come from; the two builtin sets use
the same classes. The golden holds indices, log-likelihoods and choices, no text
of the data sets. Run it again after builtin:tiny-llama3 was retrained.
"""
import hashlib, json, os, pathlib, random, re, sys, tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import datasets, lm_eval, numpy as np, torch, transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASKS = pathlib.Path(lm_eval.__file__).parent / "tasks"
TINY = ROOT / "internal/builtin/models/tiny-llama3"
OUT = ROOT / "internal/tasks/testdata/golden.json"


def jsonl(path):
    return [json.loads(line) for line in path.open(encoding="utf-8", newline="\n")]


def piqa(path):
    labels = path.with_name("valid-labels.lst").read_text().split()
    return [dict(d, label=int(l)) for d, l in zip(jsonl(path), labels, strict=True)]


def hellaswag_text(path):
    rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [dict(query=rows[i], label=int(rows[i + 1]), choices=rows[i + 2:i + 6]) for i in range(0, len(rows), 6)]


def hellaswag(path):
    """The text form as JSON lines of the published shape: the activity is what
    precedes the first colon, ctx_b what follows the last full stop. The tests
    of internal/tasks cut alike."""
    docs = []
    for d in hellaswag_text(path):
        activity, colon, rest = d["query"].partition(": ")
        if not colon:
            activity, rest = "", d["query"]
        a, stop, b = rest.rpartition(". ")
        docs.append(dict(activity_label=activity, ctx_a=a + ".", ctx_b=b, endings=d["choices"], label=str(d["label"])))
    return docs


def winogrande(path):
    docs = []
    for d in json.loads(path.read_text(encoding="utf-8")):
        head, options = d["instruction"].split("\n\nOption1: ")
        option1, option2 = options.removesuffix(" Answer format: option1/option2").split(" Option2: ")
        docs.append(dict(sentence=head.split("complete the given sentence: ", 1)[1], option1=option1,
                         option2=option2, answer=d["answer"].removeprefix("option")))
    return docs


CHOICE = ["acc", "acc_norm", "acc_bytes"]
ACC = dict(aggregation="mean", higher_is_better=True)
CASES = {  # name: (task file of the harness, file, reader, changes)
    "arc_easy": ("arc/arc_easy", "eval/arc/ARC-Easy-test.jsonl", jsonl, {}),
    "arc_challenge": ("arc/arc_challenge", "eval/arc/ARC-Challenge-test.jsonl", jsonl, {}),
    "hellaswag": ("hellaswag/hellaswag", "eval/hellaswag/hellaswag_val_full.txt", hellaswag, {}),
    "hellaswag_text": ("hellaswag/hellaswag", "eval/hellaswag/hellaswag_val_full.txt", hellaswag_text, dict(process_docs=None)),
    "piqa": ("piqa/piqa", "eval/piqa/valid.jsonl", piqa, {}),
    "winogrande": ("winogrande/default", "eval/winogrande/winogrande_val_llmadapters.json", winogrande, {}),
    "lambada": ("lambada/lambada_openai", "eval/lambada/lambada_test.jsonl", jsonl, {}),
    "choice": ("hellaswag/hellaswag", "choice.jsonl", jsonl, dict(process_docs=None, doc_to_text="{{context}}", doc_to_target="{{answer}}")),
    "cloze": ("lambada/lambada_openai", "cloze.jsonl", jsonl, {}),
}


def evaluate(model, tokenizer, name, data, bos, max_length, count):
    task, file, read, changes = CASES[name]
    builtin = not file.startswith("eval/")
    path = (ROOT / "internal/builtin/text" if builtin else data) / file
    docs = read(path)
    index = list(range(len(docs)))
    if not builtin:
        # The harness fails on a continuation longer than the model reads.
        index = [i for i in index if max(len(v) for v in texts(docs[i])) < (700 if name == "lambada" else 250)]
        # A third with what loaders may get wrong: brackets, other alphabets, spaces.
        awkward = [i for i in index if any(re.search(r"\[|[^\x00-\x7f]|\s\s|\s$", v) for v in texts(docs[i]))]
        rng = random.Random(1)
        index = rng.sample(awkward, min(count // 3, len(awkward))) + rng.sample(index, min(count, len(index)))
        index = sorted(list(dict.fromkeys(index))[:count])
    word = task == "lambada/lambada_openai"
    metrics = ["perplexity", "acc"] if word else ["acc"] if name == "winogrande" else CHOICE
    with tempfile.TemporaryDirectory() as tmp:
        part = pathlib.Path(tmp) / "docs.jsonl"
        part.write_text("".join(json.dumps(docs[i]) + "\n" for i in index), encoding="utf-8")
        config = dict(include=str(TASKS / (task + ".yaml")), task="local", dataset_path="json", dataset_name=None, training_split=None, validation_split=None,
                      test_split="test", dataset_kwargs=dict(data_files=dict(test=str(part)), cache_dir=tmp),
                      metric_list=[dict(metric=m, **(ACC if m != "perplexity" else
                                                     dict(aggregation="perplexity", higher_is_better=False))) for m in metrics],
                      **changes)
        lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", add_bos_token=bos, max_length=max_length,
                  batch_size=8, device="cpu")
        (pathlib.Path(tmp) / "local.yaml").write_text(json.dumps(config))  # JSON is YAML
        # Two bootstrap samples: enough for the closed form to be given too.
        out = lm_eval.simple_evaluate(lm, tasks=["local"], task_manager=TaskManager(include_path=tmp, include_defaults=False),
                                      num_fewshot=0, bootstrap_iters=2, log_samples=True)
    samples = sorted(out["samples"]["local"], key=lambda s: s["doc_id"])
    assert [s["doc_id"] for s in samples] == list(range(len(index)))
    resps = [[tuple(r) for r in s["filtered_resps"]] for s in samples]
    res = out["results"]["local"]
    golden = dict(task=name, file=file, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bos=bos,
                  max_length=max_length, items=index,
                  log_likelihoods=[[round(float(ll), 4) for ll, _ in r] for r in resps],
                  truncated=sum(sum(map(len, lm._encode_pair(*a))) > max_length + 1
                                for s in samples for a in s["arguments"]),
                  greedy=[[int(str(g) == "True") for _, g in r] for r in resps])
    if not word:
        golden["choice"] = [int(np.argmax([float(ll) for ll, _ in r])) for r in resps]
    golden["right"] = {m: [int(s[m]) for s in samples] for m in metrics if m != "perplexity"}
    golden["metrics"] = {m: res[m + ",none"] for m in metrics}
    golden["se"] = {m: res[m + "_stderr,none"] for m in metrics if m != "perplexity"}
    print(name, bos, max_length, golden["metrics"], golden["se"])
    return golden


def texts(doc):
    for v in doc.values():
        if isinstance(v, dict):
            yield from texts(v)
        elif isinstance(v, list):
            yield from v
        elif isinstance(v, str):
            yield v


def main():
    data, own = pathlib.Path(sys.argv[1]), sys.argv[2:] == ["--own"]
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(TINY, torch_dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(TINY / "tokenizer.json"))
    c = model.config
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.convert_ids_to_tokens([c.bos_token_id, c.eos_token_id])
    assert tokenizer.encode("x")[0] == c.bos_token_id, "the tokenizer adds no BOS"
    goldens = [evaluate(model, tokenizer, n, data, True, c.max_position_embeddings, 50 if "hella" in n else 100) for n in CASES
               if not own or n not in ("choice", "cloze")]
    # Without BOS, and so short that requests are truncated.
    goldens += [evaluate(model, tokenizer, n, data, False, 100, 30) for n in CASES if n not in ("choice", "cloze")]
    made = (f"scripts/golden/tasks.py: lm_eval {lm_eval.__version__}, datasets {datasets.__version__}, "
            f"transformers {transformers.__version__}, torch {torch.__version__}, float32, eager attention")
    text = json.dumps(dict(made=made, model_sha256=hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest(),
                           tasks=goldens), indent=1)
    # One line per list of numbers keeps the file small and diffs readable.
    text = re.sub(r"\[\s+((?:-?[\d.]+,?\s+)+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    text = re.sub(r"\],\s+\[", "], [", text)
    out = OUT.with_name("golden-own.json") if own else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


main()
