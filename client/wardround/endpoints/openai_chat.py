"""The protocol `openai-chat`: POST {base_url}/chat/completions, streamed or not.

Spoken by vLLM, SGLang, TGI, llama.cpp, Ollama, the embedded server and most hosted APIs. A prompt that is to be
rendered here, with a template of the row or of an arm, goes to {base_url}/completions as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardround.endpoints.choosing import TOP_TOKENS, Form, answer_schema
from wardround.endpoints.door import Door, Written
from wardround.endpoints.openai_completions import options, text_request, with_extra
from wardround.endpoints.reading import Said, read_message, read_message_piece
from wardround.endpoints.replies import Params
from wardround.task import Prompt


class OpenAIChat(Door):
    """A model that is asked with turns."""

    def _written(self, prompt: Prompt, params: Params, streamed: bool) -> Written:
        if params.template is not None:
            text = self._text(prompt, params.template)
            return text_request(self._model.served_name, text, prompt, params, streamed)
        messages = [{"role": turn.role, "content": turn.content} for turn in self._turns(prompt)]
        body: dict[str, Any] = {
            "model": self._model.served_name,
            "messages": messages,
            **options(params, streamed),
        }
        prefill = self._prefill(prompt)
        if prefill:
            messages.append({"role": "assistant", "content": prefill})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        by_name = self._model.structured == "structured_outputs"
        if params.choose == "logprobs":
            body |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
        elif params.choose == "structured" and by_name:
            body["structured_outputs"] = {"choice": list(dict.fromkeys(prompt.choices))}
        elif params.choose == "structured":
            schema = {"name": "answer", "strict": True, "schema": answer_schema(prompt.choices)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        form: Form = "words" if by_name else "json"
        return Written("/chat/completions", with_extra(body, params), _read_message, read_message_piece, form)


def _read_message(content: Any, _headers: Mapping[str, str]) -> Said:
    return read_message(content)
