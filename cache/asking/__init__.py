"""How are parents and foreign registries asked, when neither their honesty nor their health can be trusted?"""
