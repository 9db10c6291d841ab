/* methods.h: methods that are used in a file apart from their own. */
#ifndef TSR_TEXT_JINJA_METHODS_H
#define TSR_TEXT_JINJA_METHODS_H

#include "text/jinja/run.h"

tpl_val tpl_m_split(tpl_run *r, tpl_val self, const tpl_call *a);
tpl_val tpl_m_rsplit(tpl_run *r, tpl_val self, const tpl_call *a);
tpl_val tpl_m_splitlines(tpl_run *r, tpl_val self, const tpl_call *a);
tpl_val tpl_m_partition(tpl_run *r, tpl_val self, const tpl_call *a);
tpl_val tpl_m_rpartition(tpl_run *r, tpl_val self, const tpl_call *a);
tpl_val tpl_m_format(tpl_run *r, tpl_val self, const tpl_call *a);
void tpl_dict_update(tpl_run *r, tpl_dict *d, const tpl_call *a, const char *name); /* dict(...), d.update(...) */
tpl_seq *tpl_split_lines(tpl_run *r, const tpl_str *s, bool keep_ends);

#endif
