"""A training loop of your own with two more lines: fit before it, penalty in it.

Run it with `python examples/own_loop.py`. It uses the embedded model, so it needs `pip install ".[lab]"` from a clone.
"""

import torch
from peft import LoraConfig, get_peft_model

import lalora
from lalora.assets import load_model, load_tokenizer
from lalora.domains import examples, load_domain
from lalora.text import batches, tokenize

tokenizer = load_tokenizer("smollm2-135m")
base = load_model("smollm2-135m", torch.float32)
model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))


def some(name: str, rows: int) -> list[dict[str, torch.Tensor]]:
    data = load_domain(name)
    items = tokenize(examples(data.domain, data.train[:rows]), tokenizer)
    return batches(items, 4, tokenizer.pad_token_id)


laplace = lalora.fit(model, {"winogrande": some("winogrande", 8), "hellaswag": some("hellaswag", 8)})
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
for step, batch in enumerate(some("gsm8k", 32)):
    loss = model(**batch).loss + laplace.penalty(model)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.3f}, predicted drift {laplace.forecast(model):.5f} nats per source token")
