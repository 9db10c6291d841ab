/* program [MODEL]: what a program does with an installed Tessera. Prints the version; with a model, also the token that
 * it finds most likely after a text. */
#include <stdio.h>
#include <tessera.h>

static int failed(const char *what, const tsr_error *err)
{
    printf("%s: %s: %s\n", what, tsr_code_name(err->code), err->message);
    return 1;
}

int main(int argc, char **argv)
{
    printf("tessera %s\n", tsr_version());
    if (argc < 2) return 0;
    tsr_error err = {0};
    tsr_sampler_params greedy = tsr_sampler_params_default();
    greedy.temperature = 0.0f;
    tsr_token *tokens, next;
    size_t n;
    tsr_model *model = tsr_model_open(argv[1], NULL, &err);
    if (!model) return failed("open", &err);
    tsr_session *session = tsr_session_open(model, NULL, &err);
    tsr_sampler *sampler = tsr_sampler_open(model, &greedy, &err);
    if (!session || !sampler) return failed("session", &err);
    const char text[] = "The capital of France is";
    if (tsr_tokenize(model, text, sizeof text - 1, TSR_ADD_SPECIAL, &tokens, &n, &err)) return failed("tokenize", &err);
    if (tsr_session_eval(session, tokens, n, TSR_LOGITS_LAST, &err)) return failed("eval", &err);
    if (tsr_sampler_sample(sampler, tsr_session_logits(session, 0), &next, &err)) return failed("sample", &err);
    printf("next: %s\n", tsr_token_text(model, next));
    tsr_free(tokens);
    tsr_sampler_close(sampler);
    tsr_session_close(session);
    tsr_model_close(model);
    return 0;
}
